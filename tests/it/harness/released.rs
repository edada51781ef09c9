//! Releases of the small server: which one a fleet is given, which one serves.

use std::path::Path;

use serde_json::Value;
use vast_keeper::crash::FILE_VARIABLE;

use super::{Fleet, Run, exchange};

impl Fleet {
    /// What a node's server says of itself, from outside.
    pub async fn health_of(&self, node: &str) -> Value {
        let view = self.view().await.unwrap();
        let Some(address) = view.nodes.iter().find(|known| known.node.as_str() == node).unwrap().address
        else {
            return Value::Null;
        };
        let answer = exchange(address, "GET", "/health", b"").await;
        answer.ok().and_then(|answer| serde_json::from_slice(&answer.body).ok()).unwrap_or_default()
    }

    /// The commit that serves; empty while nothing does.
    pub async fn commit_of(&self, node: &str) -> String {
        self.health_of(node).await["commit"].as_str().unwrap_or_default().to_owned()
    }

    /// How many nodes healing is kept away from.
    pub async fn paused(&self) -> usize {
        self.view().await.unwrap().nodes.iter().filter(|node| node.paused_by.is_some()).count()
    }

    /// A small fleet that serves, with gates that do not wait for what cannot come.
    pub async fn released(name: &'static str, nodes: u32) -> Self {
        Self::released_with(name, nodes, &[]).await
    }

    /// The same with settings.
    pub async fn released_with(name: &'static str, nodes: u32, settings: &[(&str, &str)]) -> Self {
        let mut fleet = Self::light(name, nodes).await;
        fleet.settings.edit("gate_within = \"30s\"", "gate_within = \"20s\"");
        for (key, value) in settings {
            fleet.settings.set(key, value);
        }
        fleet.start().await;
        fleet.all_serve().await;
        fleet
    }

    /// A command that dies at a point of its own; the running keeper passes none.
    pub async fn dies(&mut self, words: &[&str], at: &str) {
        let file = self.folder().join("crash");
        std::fs::write(&file, at).unwrap();
        self.settings.environment.insert(FILE_VARIABLE.into(), file.display().to_string());
        let died = self.cli(words).await;
        self.settings.environment.remove(FILE_VARIABLE);
        assert_eq!(died.code, -1, "{words:?} did not die at {at}: {}", died.said());
    }

    /// From now on commands deploy this; the running keeper knows nothing of it.
    pub fn gives(&mut self, server: &Path) {
        self.settings.set("deploy.file", &server.display().to_string());
    }

    /// The commits that serve, node by node.
    pub async fn commits(&self) -> Vec<String> {
        let nodes: Vec<String> = self.instances().await.into_keys().collect();
        let mut commits = Vec::new();
        for node in nodes {
            commits.push(self.commit_of(&node).await);
        }
        commits
    }
}
