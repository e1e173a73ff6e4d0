"""Which hosts of a hostfile profile a job takes. Pure."""

from collections.abc import Collection, Iterable

from launchers.profile import Host, PartitionProfile
from launchers.text import grouped, plural


def model_of(profile: PartitionProfile, host: Host) -> str:
    """Return the GPU model of a host; the profile's where the host names none."""
    return host.gpu_model or profile.gpu_model


def models_of(profile: PartitionProfile, hosts: Iterable[Host]) -> str:
    """Return the GPU models of the hosts of one job, each once, as a cell names them."""
    return " + ".join(sorted({model_of(profile, host) for host in hosts}))


def choose_hosts(
    profile: PartitionProfile, nodes: int, gpus_per_node: int, *, without: Collection[str] = ()
) -> tuple[Host, ...] | str:
    """Return the hosts of a job, in the profile's order, or the reason why there are too few.

    A job spans unlike GPUs only with `mixed_hosts`; else it takes hosts of the most frequent GPU model that has enough
    of them (the profile's order among equals), so that the cells of a curve stay on one model. Hosts named in
    `without` are passed over, but never for another GPU model: that would be another cell.
    """
    hosts = _choose(profile, nodes, gpus_per_node)
    if isinstance(hosts, str) or not {host.name for host in hosts} & set(without):
        return hosts
    models = {model_of(profile, host) for host in hosts}
    remaining = [
        host
        for host in profile.hosts
        if host.slots >= gpus_per_node and host.name not in without and model_of(profile, host) in models
    ][:nodes]
    if len(remaining) == nodes and {model_of(profile, host) for host in remaining} == models:
        return tuple(remaining)
    return (
        f"nodes={nodes}: without {', '.join(sorted(without))}, on which a cell failed, {profile.name} has no "
        f"{plural(nodes, 'host')} of {' + '.join(sorted(models))} with {plural(gpus_per_node, 'GPU')} or more; put "
        "the host right and run the same command again, or use fewer nodes"
    )


def _choose(profile: PartitionProfile, nodes: int, gpus_per_node: int) -> tuple[Host, ...] | str:
    fitting = [host for host in profile.hosts if host.slots >= gpus_per_node]
    if len(fitting) < nodes:
        return (
            f"nodes={nodes}: {profile.name} has {len(fitting)} of {plural(len(profile.hosts), 'host')} with "
            f"{plural(gpus_per_node, 'GPU')} or more; use nodes={len(fitting)} or fewer GPUs"
            if fitting
            else f"{gpus_per_node} GPUs a node: {profile.name} has no such host, the largest has "
            f"{max((host.slots for host in profile.hosts), default=0)}; use more nodes or fewer GPUs"
        )
    if profile.mixed_hosts:
        return tuple(fitting[:nodes])
    groups = grouped((model_of(profile, host), host) for host in fitting)
    for group in sorted(groups.values(), key=len, reverse=True):
        if len(group) >= nodes:
            return tuple(group[:nodes])
    counts = ", ".join(f"{len(group)} x {model}" for model, group in groups.items())
    return (
        f"nodes={nodes}: {profile.name} has no {nodes} hosts of one GPU model ({counts}); use "
        f"nodes={max(len(group) for group in groups.values())} or fewer, or ++partition.mixed_hosts=true "
        "to measure the weakest of them"
    )
