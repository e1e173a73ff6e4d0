"""SVG and PDF from one drawing: artists work out once what both files hold. An edge."""

from codecs import getwriter
from typing import Any, BinaryIO

from matplotlib.artist import Artist
from matplotlib.backend_bases import GraphicsContextBase, RendererBase
from matplotlib.backends.backend_pdf import FigureCanvasPdf, PdfFile, RendererPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG, RendererSVG
from matplotlib.figure import Figure

_DRAWS = ("draw_path", "draw_markers", "draw_path_collection", "draw_quad_mesh", "draw_image")
"""What artists ask a renderer for beside text, of which each knows how to draw it best."""
_POINTS = 72
"""To an inch."""


def print_both(sheet: Figure, svg: BinaryIO, pdf: BinaryIO, *, of_svg: dict[str, Any], of_pdf: dict[str, Any]) -> None:
    """Draw into both; `of_svg`, `of_pdf`: their metadata.

    As each canvas does (matplotlib 3.8 to 3.11), with one renderer for two files. Where something is drawn as pixels, a
    colour bar for one, each file is drawn by itself: each makes its own pixels.
    """
    dpi = sheet.dpi
    if sheet.findobj(Artist.get_rasterized):
        FigureCanvasSVG(sheet).print_svg(svg, metadata=of_svg)  # type: ignore[no-untyped-call]
        sheet.set_dpi(dpi)  # SVG leaves its own behind, 72
        FigureCanvasPdf(sheet).print_pdf(pdf, metadata=of_pdf)  # type: ignore[no-untyped-call]
        return
    sheet.set_dpi(_POINTS)
    width, height = sheet.get_size_inches()
    text, size = getwriter("utf-8")(svg), (width * _POINTS, height * _POINTS)
    into_svg = RendererSVG(*size, text, image_dpi=dpi, metadata=of_svg)  # type: ignore[no-untyped-call]
    file = PdfFile(pdf, metadata=of_pdf)  # type: ignore[no-untyped-call]
    try:
        file.newPage(width, height)  # type: ignore[no-untyped-call]
        into_pdf = RendererPdf(file, dpi, height, width)  # type: ignore[no-untyped-call]
        sheet.draw(_Both(into_svg, into_pdf))
        for drawn in (into_svg, into_pdf, file):
            drawn.finalize()  # type: ignore[no-untyped-call]
    finally:
        file.close()  # type: ignore[no-untyped-call]


class _Both(RendererBase):
    """A renderer for two, each in points of print, 1/72 inch. Text has the size that it has in SVG: PDF's own measure
    rounds, and moves it by a tenth of a point at most."""

    def __init__(self, svg: Any, pdf: Any) -> None:
        super().__init__()
        self._svg, self._pdf = svg, pdf
        for name in _DRAWS:
            setattr(self, name, self._by_both(getattr(svg, name), getattr(pdf, name)))

    @staticmethod
    def _by_both(draw_svg: Any, draw_pdf: Any) -> Any:
        def draw(*args: Any, **kwargs: Any) -> None:
            draw_svg(*args, **kwargs)
            draw_pdf(*args, **kwargs)

        return draw

    def open_group(self, s: str, gid: str | None = None) -> None:
        self._svg.open_group(s, gid)

    def close_group(self, s: str) -> None:
        self._svg.close_group(s)

    def new_gc(self) -> GraphicsContextBase:
        """PDF's knows more."""
        context: GraphicsContextBase = self._pdf.new_gc()
        return context

    def flipy(self) -> bool:
        """PDF's y goes up."""
        return False

    def get_canvas_width_height(self) -> tuple[float, float]:
        size: tuple[float, float] = self._svg.get_canvas_width_height()
        return size

    def get_text_width_height_descent(self, *args: Any, **kwargs: Any) -> tuple[float, float, float]:
        size: tuple[float, float, float] = self._svg.get_text_width_height_descent(*args, **kwargs)
        return size

    def draw_text(self, gc: GraphicsContextBase, x: float, y: float, *args: Any, **kwargs: Any) -> None:
        _, height = self.get_canvas_width_height()
        self._svg.draw_text(gc, x, height - y, *args, **kwargs)
        self._pdf.draw_text(gc, x, y, *args, **kwargs)
