outputs/golden/jobs/n1-g1-376b2b28/job.sh
#!/bin/sh
# vit_sweep study: golden, 1 cell
exec PYTHON -m launchers.local.queue FOLDER/outputs/golden/jobs/n1-g1-376b2b28

================================================================================
outputs/golden/jobs/n1-g2-e167f860/job.sh
#!/bin/sh
# vit_sweep study: golden, 1 cell
exec PYTHON -m launchers.local.queue FOLDER/outputs/golden/jobs/n1-g2-e167f860

================================================================================
