//! Keys about how a release is put on a box: backups, migrations.

use super::{HOUR, Key, SECOND, TEXT, count, duration};
use crate::config::kind::Kind;

pub(super) const METHOD: &[Key] = &[
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
