//! How a release is put on a box: where its code comes from, what keeps it running, backups, migrations.

use std::path::PathBuf;

use super::{Keeping, Made, Manager, Method, Origin, kind::shown, reader::Reader};

pub(super) fn method(reader: &mut Reader<'_>) -> Method {
    let origin = origin(reader);
    let manager = manager(reader, &origin);
    let service = service(reader);
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
    let migrate_files = reader.text("deploy.migrate.files");
    for (key, set) in [
        ("deploy.migrate.status", &migrate_status),
        ("deploy.migrate.validate", &migrate_validate),
        ("deploy.migrate.files", &migrate_files),
    ] {
        if set.is_some() && migrate_run.is_none() {
            reader.fault(key, "is set without `deploy.migrate.run`");
        }
    }
    if let Some(files) = &migrate_files {
        if !matches!(origin, Origin::Git { made: Made::OnBox(_), .. }) {
            reader.fault(
                "deploy.migrate.files",
                "needs a release that is built on the box: it lies in the tree",
            );
        } else if files.starts_with('/') || files.split('/').any(|part| part == "..") {
            reader.fault("deploy.migrate.files", "must lie within the tree");
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
        origin,
        manager,
        service,
        adopt: reader.text("deploy.adopt").as_deref() == Some("adopt"),
        required: reader.texts("deploy.required").unwrap_or_default(),
        build_within: reader.duration("deploy.build_within"),
        backup_command,
        backup_check,
        restore_command: reader.text("deploy.restore_command"),
        backups_kept: reader.count("deploy.backups_kept"),
        command_within: reader.duration("deploy.command_within"),
        migrate_status,
        migrate_run,
        migrate_validate,
        migrate_files,
        migrate_risky: reader.flag("deploy.migrate.risky"),
        schema,
        schema_floor: schema_floor.unwrap_or(0),
    }
}

/// Where the code comes from. What is missing for it is told; keys of another strategy are left alone, for profiles may share them.
fn origin(reader: &mut Reader<'_>) -> Origin {
    let strategy = reader.text("deploy.strategy").unwrap_or_default();
    let url = reader.text("deploy.git_url");
    let rev = reader.text("deploy.git_rev");
    let build = reader.text("deploy.build_command");
    let here = reader.text("deploy.build_on").as_deref() == Some("here");
    let output = reader.text("deploy.build_output");
    let run = reader.text("deploy.run_command");
    let image = reader.text("deploy.docker_image");
    let commit = reader.text("deploy.docker_commit");
    let archive = reader.text("deploy.docker_archive").map(PathBuf::from);
    let engine = reader.text("deploy.engine").unwrap_or_default();
    let options = reader.texts("deploy.engine_options").unwrap_or_default();
    let mut needed = |key: &str, value: Option<String>| {
        if value.is_none() {
            reader.fault(key, format!("is needed by the strategy `{strategy}`"));
        }
        value.unwrap_or_default()
    };
    match strategy.as_str() {
        "git" => {
            let (url, rev) = (needed("deploy.git_url", url), needed("deploy.git_rev", rev));
            let made = if here {
                Made::Here(needed("deploy.build_output", output).into())
            } else {
                Made::OnBox(needed("deploy.run_command", run))
            };
            if let Made::Here(output) = &made
                && (output.is_absolute() || output.components().any(|part| part.as_os_str() == ".."))
            {
                reader.fault("deploy.build_output", "must lie within the tree");
            }
            for (key, text) in [("deploy.git_url", &url), ("deploy.git_rev", &rev)] {
                if text.starts_with('-') || !text.chars().all(|c| c.is_ascii_graphic()) {
                    reader.fault(key, format!("`{}` is none that `git` would take", shown(text)));
                }
            }
            Origin::Git { url, rev, build, made }
        }
        "docker" => {
            let image = needed("deploy.docker_image", image);
            let digest = image.rsplit_once("sha256:").map(|(_, digest)| digest).unwrap_or_default();
            let pinned = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !image.is_empty() && (!pinned || image.starts_with('-') || image.contains('\'')) {
                let hint =
                    "write `name@sha256:…`; `docker buildx imagetools inspect NAME:TAG` prints the digest";
                reader.fault_hint("deploy.docker_image", "must be pinned by its digest: a tag moves", hint);
            }
            // Where an image came from is not kept by an archive; what it is, is.
            if archive.is_some() && !image.is_empty() && !image.starts_with("sha256:") {
                let hint = "`docker image inspect --format '{{.Id}}' NAME` prints it";
                reader.fault_hint("deploy.docker_image", "must be the id of the image in the archive", hint);
            }
            if engine.is_empty() || engine.starts_with('-') || engine.contains(char::is_whitespace) {
                reader.fault("deploy.engine", "is no command's name");
            }
            Origin::Image { image, archive, commit, engine, options }
        }
        _ => Origin::Artifact,
    }
}

fn manager(reader: &mut Reader<'_>, origin: &Origin) -> Manager {
    let image = matches!(origin, Origin::Image { .. });
    let kind = match reader.text("deploy.manager").as_deref() {
        Some("systemd") => Keeping::Systemd,
        Some("pm2") => Keeping::Pm2,
        Some("docker") => Keeping::Docker,
        Some("command") => Keeping::Command,
        // An image needs its engine, and nobody has to say so twice.
        _ if image => Keeping::Docker,
        _ => Keeping::Supervised,
    };
    if image != (kind == Keeping::Docker) {
        let message = "`docker` keeps images running, and nothing else does: it goes with `deploy.strategy = \"docker\"`";
        reader.fault("deploy.manager", message);
    }
    let keys = ["deploy.start_command", "deploy.stop_command", "deploy.status_command", "deploy.pid_command"];
    let commands = keys.map(|key| reader.text(key));
    if kind == Keeping::Command {
        for (key, command) in keys.iter().zip(&commands) {
            if command.is_none() && *key != "deploy.status_command" {
                reader.fault(key, "is needed by the manager `command`");
            }
        }
    }
    Manager { kind, commands }
}

fn service(reader: &mut Reader<'_>) -> String {
    let service = reader.text("deploy.service").unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let begins = service.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !begins || !service.bytes().all(plain) {
        reader.fault("deploy.service", "is no name for a service: letters, digits, `-`, `_` and `.`");
    }
    service
}
