//! Keys about how a release is put on a box: where its code comes from, what keeps it running, backups, migrations.

use super::{HOUR, Key, SECOND, TEXT, TEXTS, count, duration};
use crate::config::kind::Kind;

pub(super) const METHOD: &[Key] = &[
    Key::new(
        "deploy.git_url",
        TEXT,
        "",
        "Repository of the strategy `git`, as `git` takes it; a box that builds must reach it without a password",
    )
    .restart(),
    Key::new(
        "deploy.git_rev",
        TEXT,
        "",
        "The commit: a full hash, or a branch or tag, which the keeper resolves to one before any box is touched",
    )
    .restart(),
    Key::new(
        "deploy.build_command",
        TEXT,
        "",
        "Builds it, in the checked-out tree, which must be clean; it gets no secrets",
    )
    .restart(),
    Key::new(
        "deploy.build_on",
        Kind::Choice(&["box", "here"]),
        r#""box""#,
        "Build on each box and run in the tree there (`deploy.run_command`), or once here and upload `deploy.build_output`",
    )
    .restart(),
    Key::new(
        "deploy.build_output",
        TEXT,
        "",
        "The executable that a build here leaves, relative to the tree",
    )
    .restart(),
    Key::new("deploy.build_within", duration(SECOND, 6 * HOUR), r#""10m""#, "How long fetching, and how long building may take")
        .restart(),
    Key::new(
        "deploy.run_command",
        TEXT,
        "",
        "Becomes the server, in the tree that was built on the box, such as `exec node dist/index.js`",
    )
    .restart(),
    Key::new(
        "deploy.docker_image",
        TEXT,
        "",
        "Image of the strategy `docker`, pinned: `registry.example.org/duel@sha256:…`. The one before stays for the way back",
    )
    .restart(),
    Key::new(
        "deploy.docker_archive",
        TEXT,
        "",
        "Archive of the image, written here by `docker save`, for boxes that cannot reach a registry: it is sent, and loaded there. \
         `deploy.docker_image` is then the image's id, `sha256:…`, which loading keeps",
    )
    .restart(),
    Key::new("deploy.docker_commit", TEXT, "", "The commit that its server names in `/health`, if it names one").restart(),
    Key::new("deploy.engine", TEXT, r#""docker""#, "The container engine's command on the box; `podman` works as well").restart(),
    Key::new(
        "deploy.engine_options",
        TEXTS,
        r#"["--network", "host"]"#,
        "Options of its `run`. Settings are passed by name, never in the command line",
    )
    .restart(),
    Key::new(
        "deploy.manager",
        Kind::Choice(&["supervised", "systemd", "pm2", "docker", "command"]),
        r#""supervised""#,
        "What keeps the server running: a supervisor of the keeper's own, which needs no init; a unit; pm2; the container engine (only and \
         always with the strategy `docker`); or commands",
    )
    .restart(),
    Key::new(
        "deploy.service",
        TEXT,
        r#""vast-keeper-server""#,
        "Name of the unit, of pm2's process, or of the container",
    )
    .restart(),
    Key::new(
        "deploy.start_command",
        TEXT,
        "",
        "With `command`: starts the server and returns. `$KEEPER_SERVE` is the command that becomes it, with its settings",
    )
    .restart(),
    Key::new("deploy.stop_command", TEXT, "", "With `command`: stops it; what remains of its process group is ended").restart(),
    Key::new("deploy.status_command", TEXT, "", "With `command`: prints its state in a few words").restart(),
    Key::new("deploy.pid_command", TEXT, "", "With `command`: prints the id of its main process, or nothing").restart(),
    Key::new(
        "deploy.adopt",
        Kind::Choice(&["refuse", "adopt"]),
        r#""refuse""#,
        "What becomes of somebody else's server on the port of a box that has none of ours: nothing is deployed, or it is taken over as \
         the release to go back to",
    )
    .restart(),
    Key::new(
        "deploy.required",
        TEXTS,
        "[]",
        "Settings that the server needs, checked before any box is touched: `JWT_SECRET`, or with a form: `DATABASE_URL:url`; forms are \
         text, url, int, port, flag, hex",
    )
    .restart(),
    Key::new(
        "deploy.backup_command",
        TEXT,
        "",
        "Writes a dump of the data to its standard output, on the box, before a deploy changes anything. Without it only settings \
         and release are kept. It runs in the server's folder with the settings that the running release has, as do all commands here",
    )
    .restart(),
    Key::new(
        "deploy.backup_check",
        TEXT,
        "",
        "Reads a dump on its standard input and fails unless it can be restored; a dump must never be empty",
    )
    .restart(),
    Key::new(
        "deploy.restore_command",
        TEXT,
        "",
        "Takes a dump on its standard input and brings the data back, for `vast-keeper restore`",
    )
    .restart(),
    Key::new(
        "deploy.backups_kept",
        count(1, 1000),
        "5",
        "Backups with a dump that stay on a box; those without one are counted by themselves",
    )
    .restart(),
    Key::new(
        "deploy.command_within",
        duration(SECOND, 6 * HOUR),
        r#""5m""#,
        "How long each of these commands may take; it is ended on the box then",
    )
    .restart(),
    Key::new(
        "deploy.migrate.status",
        TEXT,
        "",
        "Prints what a migration would do, such as pending statements; whatever its exit code. Statements that lose data are looked \
         for in it, and a failed migration that left it unchanged has changed nothing",
    )
    .restart(),
    Key::new(
        "deploy.migrate.run",
        TEXT,
        "",
        "Brings the data to the schema that the release needs, with the release's own settings, before it is started; harmless when \
         there is nothing to do",
    )
    .restart(),
    Key::new("deploy.migrate.validate", TEXT, "", "Fails unless the schema is what the release needs").restart(),
    Key::new(
        "deploy.migrate.files",
        TEXT,
        "",
        "Files of the release that hold its migrations, as a pattern within the tree that was built on the box. Those that the status \
         names, or that the release before lacks, are looked through for statements that lose data, too",
    )
    .restart(),
    Key::new(
        "deploy.migrate.risky",
        Kind::Flag,
        "false",
        "Let migrations run that drop, truncate, rename or delete everything",
    )
    .restart(),
    Key::new(
        "deploy.schema",
        count(0, u32::MAX as u64),
        "",
        "Version of the data's schema that the release brings; it is recorded with the release and on the box",
    )
    .restart(),
    Key::new(
        "deploy.schema_floor",
        count(0, u32::MAX as u64),
        "",
        "Oldest schema version whose releases still work with it; a box goes back to none older. Without it any does",
    )
    .restart(),
];
