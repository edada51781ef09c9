//! Fuzzing of the configuration: a `keeper.toml` and a `.env`, through the whole of [`load`].
//!
//! An input is the one, a line `----`, and the other. The oracle: no panic; a refusal names at least one fault; a secret that
//! stands where secrets stand is shown neither in a refusal nor in what was accepted.

use std::fs;

use super::*;
use crate::fuzz_tests::{Target, fuzz};

const SECRET: &str = "canary-3f9a71";
const WORDS: &[&str] = &[
    "[health]\n",
    "interval = \"60s\"\n",
    "timeout = \"5s\"\n",
    "conditions = [\"[STATUS] == 200\"]\n",
    "[fleet]\n",
    "nodes = 3\n",
    "name = \"prod\"\n",
    "[[group]]\n",
    "count = 2\n",
    "[rails]\n",
    "parallel = 1\n",
    "[offers]\n",
    "query = \"num_gpus=1\"\n",
    "price_cap = 0.5\n",
    "[[alerts.sink]]\n",
    "ladder = [\"replace\"]\n",
    "\n----\n",
    "VAST_API_KEY=canary-3f9a71\n",
    "HEALTH_CHECK_INTERVAL=60\n",
    "KEEPER__FLEET__NODES=3\n",
    "KEEPER__RAILS__COOLDOWN=1h\n",
    "KEEPER__",
    "export ",
    "'",
    "\"",
    "${HOME}",
    "$",
    "#",
    "a.b.c.d = 1\n",
    "{}",
    "[]",
    "nan",
    "-inf",
    "0x7fffffffffffffff",
];

#[test]
fn fuzz_config() {
    let folder = tempfile::tempdir().unwrap();
    let (file, env) = (folder.path().join("keeper.toml"), folder.path().join(".env"));
    let must = &["accepted", "refused 1", "refused 2"];
    fuzz(&Target { name: "config", words: WORDS, must, weight: 120 }, |input| {
        let cut = input.windows(6).position(|six| six == b"\n----\n").unwrap_or(input.len());
        fs::write(&file, &input[..cut]).unwrap();
        fs::write(&env, input.get(cut + 6..).unwrap_or_default()).unwrap();
        let sources =
            Sources { config_file: Some(file.clone()), env_file: Some(env.clone()), ..with_home(&[]) };
        let text = String::from_utf8_lossy(input);
        let in_place = format!("\nVAST_API_KEY={SECRET}\n");
        let hidden = text.matches(SECRET).count() == 1 && text.contains(&in_place);
        match load(&sources) {
            Ok(config) => {
                assert!(!hidden || !format!("{config:?}").contains(SECRET));
                assert!(!config.policy.nodes.is_empty());
                format!("accepted {}", config.policy.nodes.len().min(9))
            }
            Err(faults) => {
                let shown = faults.to_string();
                assert!(!hidden || !shown.contains(SECRET), "{shown}");
                assert!(!faults.faults.is_empty());
                let first = faults.faults[0].to_string().replace(&folder.path().display().to_string(), "");
                let first: String = first.chars().filter(|c| !c.is_ascii_digit()).take(36).collect();
                format!("refused {}: {first}", faults.faults.len())
            }
        }
    });
}
