//! What people want to see before something is deployed: how the server that runs answers, what the box has left, what would change.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use tokio::time::timeout;

use super::{
    assessment::Assessment,
    drift::{drift, setting},
    gate::{ask_with, client},
    request::DeployRequest,
    run::{Run, script},
    step::Step,
};

/// How long the running server is given to tell of itself; what it does not tell stops no deploy.
const ANSWER: Duration = Duration::from_secs(3);
/// The setting that holds the server's admin code.
const ADMIN_CODE: &str = "ADMIN_CODE";
/// Longest text of one fact.
const LENGTH: usize = 160;

impl Run<'_> {
    /// Everything that is known of a box before it is changed, a fact a line.
    pub(super) async fn facts(
        &mut self,
        found: &Assessment,
        request: &DeployRequest,
        name: &str,
    ) -> Vec<String> {
        let mut facts = Vec::new();
        let inodes = found.free_inodes.map(|free| format!(", {free} inodes")).unwrap_or_default();
        facts.push(format!("disk {} MiB free{inodes}", found.free_bytes >> 20));
        facts.extend(found.facts.iter().cloned());
        facts.extend(found.service.iter().map(|state| format!("service {state}")));
        facts.extend(found.current.iter().map(|current| format!("release {current}")));
        if found.server_alive || found.foreign.is_some() {
            facts.push(self.health().await);
            facts.extend(self.dependencies().await);
        }
        if found.current.as_deref().is_some_and(|current| current != name) {
            facts.extend(self.settings_drift(request).await);
        }
        if found.current.as_deref() == Some(name) && !found.sealed {
            facts.push(
                "drift the release's files on the box are not what was deployed: they are laid down anew"
                    .into(),
            );
        }
        let plain = |text: String| text.chars().filter(|c| !c.is_control()).take(LENGTH).collect();
        facts.into_iter().map(plain).collect()
    }

    async fn health(&self) -> String {
        let Some((code, body)) = self.asked(&self.site.gate.path).await else {
            return "health it does not answer".into();
        };
        let field = |name: &str| {
            let value = body.get(name)?;
            value.as_str().map(str::to_owned).or_else(|| Some(value.to_string()))
        };
        let told = ["status", "version", "commit", "uptime", "phase"]
            .into_iter()
            .filter_map(|name| Some((name, field(name)?)));
        let told: Vec<String> = told.map(|(name, value)| format!("{name} {value}")).collect();
        format!("health it answers {code}: {}", told.join(", "))
    }

    /// What the server says of what it depends on, as `/ready` or the `checks` of `/health` tell.
    async fn dependencies(&self) -> Option<String> {
        let (_, body) = match self.asked("/ready").await {
            Some((code, body)) if code != 404 => (code, body),
            _ => self.asked(&self.site.gate.path).await?,
        };
        let of = |name: &str| body.get(name).and_then(Value::as_object).cloned();
        let all = of("dependencies").or_else(|| of("checks"))?;
        let told: Vec<String> = all
            .iter()
            .map(|(name, state)| {
                let state = state.get("status").unwrap_or(state);
                format!("{name} {}", state.as_str().map_or_else(|| state.to_string(), str::to_owned))
            })
            .collect();
        Some(format!("dependencies {}", told.join(", ")))
    }

    async fn asked(&self, path: &str) -> Option<(u16, Value)> {
        let client = client().ok()?;
        let asked = ask_with(client.get(format!("http://{}{path}", self.site.public)), false);
        let (code, body) = timeout(ANSWER, asked).await.ok()?.ok()?;
        Some((code, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    async fn settings_drift(&mut self, request: &DeployRequest) -> Option<String> {
        let there = self.settings_there().await?;
        let changes = drift(&there, &request.env);
        (!changes.is_empty()).then(|| format!("settings {}", changes.join(" ")))
    }

    /// The settings with which the server that runs was started; among them is the admin code that it knows.
    pub(super) async fn settings_there(&mut self) -> Option<String> {
        let output = self.script(Step::Assess, script!("settings.sh"), b"").await.ok()?;
        self.code_before = setting(&output.stdout, ADMIN_CODE).map(SecretString::from);
        Some(output.stdout)
    }
}
