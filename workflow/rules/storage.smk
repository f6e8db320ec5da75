"""Results of machines that reach one storage, such as S3, instead of each other.

REQUIRED CONFIG: store (a folder in it: s3://bucket/folder), a storage plugin for that kind of URL
REQUIRED INPUTS: the shard's report; the archives of the other shards
OUTPUTS: {store}/{study}/{vm}.tar.gz; what `phasewise merge` writes
"""

STORE = config["store"].rstrip("/") + "/" + STUDY.settings.name


rule upload_results:
    """Put this machine's results into the storage, as one archive."""
    input:
        REPORT,
    output:
        storage(f"{STORE}/{VM}.tar.gz"),
    localrule: True
    shell:
        "tar --create --gzip --exclude=wandb --file={output:q} {EXPERIMENTS:q} {ANALYSIS:q}"


rule merge_results:
    """Bring the archives of all other machines into this clone; call `phasewise report` then."""
    input:
        [
            storage(f"{STORE}/{name}.tar.gz")
            for name in STUDY.settings.shards
            if name != VM
        ],
    localrule: True
    shell:
        "phasewise merge --study {STUDY_FILE:q} {input:q}"
