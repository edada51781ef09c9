//! How a release is put on a box: backups, migrations.

use super::{Method, reader::Reader};

pub(super) fn method(reader: &mut Reader<'_>) -> Method {
    let backup_command = reader.text("deploy.backup_command");
    let backup_check = reader.text("deploy.backup_check");
    if backup_check.is_some() && backup_command.is_none() {
        reader.fault(
            "deploy.backup_check",
            "is set without `deploy.backup_command`: there is nothing to check",
        );
    }
    let migrate_status = reader.text("deploy.migrate.status");
    let migrate_run = reader.text("deploy.migrate.run");
    let migrate_validate = reader.text("deploy.migrate.validate");
    for (key, set) in
        [("deploy.migrate.status", &migrate_status), ("deploy.migrate.validate", &migrate_validate)]
    {
        if set.is_some() && migrate_run.is_none() {
            reader.fault(key, "is set without `deploy.migrate.run`");
        }
    }
    let schema = reader.optional_count("deploy.schema");
    let schema_floor = reader.optional_count("deploy.schema_floor");
    match (schema, schema_floor) {
        (None, Some(_)) => reader.fault("deploy.schema_floor", "is set without `deploy.schema`"),
        (Some(schema), Some(floor)) if floor > schema => {
            reader.fault("deploy.schema_floor", format!("is above `deploy.schema` of {schema}"));
        }
        _ => {}
    }
    Method {
        backup_command,
        backup_check,
        restore_command: reader.text("deploy.restore_command"),
        backups_kept: reader.count("deploy.backups_kept"),
        command_within: reader.duration("deploy.command_within"),
        migrate_status,
        migrate_run,
        migrate_validate,
        migrate_risky: reader.flag("deploy.migrate.risky"),
        schema,
        schema_floor: schema_floor.unwrap_or(0),
    }
}
