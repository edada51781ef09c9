//! Logs and executed commands: a request answers a `result_url`, which serves the text a little later.

use std::path::{Component, Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Call;
use super::reply::Reply;
use crate::boxes::Folder;
use crate::engine::Shared;
use crate::world::{Output, OutputSource, State};

/// Lines of a log without a `tail`.
const DEFAULT_TAIL: usize = 1_000;

/// GETs answered 404 before the output is there, as the live storage does.
const MISSES: u32 = 2;

/// Longest command (Vast.ai OpenAPI), and the only programs it may name.
const MOST_COMMAND: usize = 512;
const PROGRAMS: [&str; 3] = ["ls", "rm", "du"];

fn store(state: &mut State, call: &Call, source: OutputSource) -> String {
    let token = state.token(32);
    state.store_output(token.clone(), Output { misses_left: MISSES, source });
    format!("{}/results/{token}.log", call.base_url)
}

/// `PUT /instances/request_logs/{id}/`; every value is text.
pub(crate) fn logs(state: &mut State, call: &Call, id: u64) -> Reply {
    if state.alive(id).is_none() {
        return Reply::error(404, "invalid_id", "Invalid instance id.");
    }
    let text = |name: &str| call.body.get(name).and_then(Value::as_str);
    let tail = text("tail").and_then(|tail| tail.parse().ok()).unwrap_or(DEFAULT_TAIL);
    let source = if text("daemon_logs") == Some("true") {
        OutputSource::Text(daemon_log(state, id))
    } else {
        OutputSource::ContainerLog { instance: id, tail, filter: text("filter").map(str::to_owned) }
    };
    let result_url = store(state, call, source);
    Reply::ok(json!({"success": true, "result_url": result_url, "msg": "Log request queued."}))
}

/// What the host's daemon would have written: the box's own history.
fn daemon_log(state: &State, id: u64) -> String {
    let events = state.truth.iter().filter(|event| event.instance == id);
    events.map(|event| format!("{} C.{id} {:?}\n", event.at_ms, event.what)).collect()
}

/// `PUT /instances/command/{id}/`: `ls`, `rm` and `du` inside the box.
pub(crate) fn execute(state: &mut State, call: &Call, id: u64) -> Reply {
    if call.bad_json || !call.body.is_object() {
        return Reply::error(483, "invalid_args", "Invalid json_body");
    }
    if state.alive(id).is_none() {
        return Reply::error(400, "invalid_args", "invalid instance_id");
    }
    let command = call.body.get("command").and_then(Value::as_str).unwrap_or_default();
    let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    let allowed = words.first().is_some_and(|program| PROGRAMS.contains(&program.as_str()));
    if !allowed || command.len() > MOST_COMMAND {
        return Reply::error(400, "invalid_args", "command: only ls, rm and du, at most 512 characters");
    }
    let result_url = store(state, call, OutputSource::Command { instance: id, words });
    Reply::ok(
        json!({"success": true, "result_url": result_url, "writeable_path": "/root", "msg": "Command queued."}),
    )
}

/// `GET /results/{token}.log`, without a key.
pub(crate) async fn read(shared: &Arc<Shared>, token: &str) -> Reply {
    let token = token.trim_end_matches(".log").to_owned();
    let source = shared.with(|state, _| {
        let output = state.output_mut(&token)?;
        if output.misses_left > 0 {
            output.misses_left -= 1;
            return None;
        }
        Some(output.source.clone())
    });
    let Some(source) = source else {
        let body = b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>".to_vec();
        return Reply::Raw { status: 404, content_type: "application/xml", body, headers: Vec::new() };
    };
    let root = shared.root.clone();
    let text = match source {
        OutputSource::Text(text) => text,
        OutputSource::ContainerLog { instance, tail, filter } => {
            let folder = Folder::of(&root, instance);
            let read = move || folder.read_log(tail, filter.as_deref());
            tokio::task::spawn_blocking(read).await.unwrap_or_default()
        }
        OutputSource::Command { instance, words } => run(&Folder::of(&root, instance), &words).await,
    };
    Reply::Raw { status: 200, content_type: "text/plain", body: text.into_bytes(), headers: Vec::new() }
}

/// Runs an allowed program. Paths are taken inside the box's home: absolute ones from its top, and none may climb.
async fn run(folder: &Folder, words: &[String]) -> String {
    let Some((program, arguments)) = words.split_first() else { return String::new() };
    let home = folder.home();
    let Some(arguments) = arguments.iter().map(|word| confined(&home, word)).collect::<Option<Vec<_>>>()
    else {
        return format!("{program}: path leaves the instance\n");
    };
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .current_dir(&home)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .output()
        .await;
    match child {
        Ok(output) => {
            [output.stdout, output.stderr].iter().map(|text| String::from_utf8_lossy(text)).collect()
        }
        Err(error) => format!("{program}: {error}\n"),
    }
}

/// An option without a path stays as it is; a path is put below the home, or refused.
fn confined(home: &Path, word: &str) -> Option<PathBuf> {
    if word.starts_with('-') {
        return (!word.contains('/')).then(|| PathBuf::from(word));
    }
    let path = Path::new(word);
    if path.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let inside = path.strip_prefix("/root").or_else(|_| path.strip_prefix("/")).unwrap_or(path);
    let joined = home.join(inside);
    // A link inside the home must not lead out of it; what does not exist yet leads nowhere.
    let real = joined.canonicalize().unwrap_or_else(|_| joined.clone());
    let home = home.canonicalize().unwrap_or_else(|_| home.to_owned());
    (real.starts_with(&home) || !joined.exists()).then_some(joined)
}

#[cfg(test)]
mod tests {
    use super::confined;

    #[test]
    fn a_path_never_leaves_the_home() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        std::os::unix::fs::symlink("/etc", home.join("out")).unwrap();
        assert_eq!(confined(home, "/root/x"), Some(home.join("x")));
        assert_eq!(confined(home, "/etc/passwd"), Some(home.join("etc/passwd")));
        assert_eq!(confined(home, "-l"), Some("-l".into()));
        assert_eq!(confined(home, "--files0-from=/etc/passwd"), None);
        assert_eq!(confined(home, "../../etc"), None);
        assert_eq!(confined(home, "out/passwd"), None);
    }
}
