outputs/golden/jobs/n1-g1-306ea775/job.sh
#!/bin/sh
# vit_sweep study: golden, 1 cell
exec PYTHON -m launchers.local.queue FOLDER/outputs/golden/jobs/n1-g1-306ea775

================================================================================
outputs/golden/jobs/n1-g2-b3863cb5/job.sh
#!/bin/sh
# vit_sweep study: golden, 1 cell
exec PYTHON -m launchers.local.queue FOLDER/outputs/golden/jobs/n1-g2-b3863cb5

================================================================================
