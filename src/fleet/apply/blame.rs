//! The fold of who is at fault: machines and their failures, releases and how they stand.

use crate::fleet::{
    culprit::Attribution,
    journal::{Entry, Record},
    ledger::Strike,
    release::{Condemned, Digest, FreshFailure, forget_oldest},
    state::{Blame, Fleet},
    units::Timestamp,
};

impl Fleet {
    pub(super) fn apply_blame(&mut self, entry: &Entry) {
        let at = entry.at;
        match &entry.record {
            Record::MachineBlamed { machine, host, detail, until, node, instance, culprit } => {
                let (host, until) = (*host, *until);
                let fresh = || Blame { host, count: 0, detail: String::new(), until, strikes: Vec::new() };
                let (node, instance) = (node.clone(), *instance);
                let strike = Strike { at, node, instance, detail: detail.clone(), culprit: *culprit };
                self.blamed.change(*machine, fresh, |blame| {
                    blame.host = host;
                    blame.strike(strike, until);
                });
                self.bound_ledger();
            }
            Record::MachineImported { machine, blame, .. } => {
                // What is known already is not doubled by being merged with itself.
                self.blamed.change(*machine, || blame.clone(), |known| known.merge(blame));
                self.bound_ledger();
            }
            Record::MachineForgiven { machine, .. } => {
                self.blamed.remove(*machine);
            }
            Record::Attributed { node, culprit, evidence, .. } => {
                if let Some(incident) = self.nodes.get_mut(node).and_then(|node| node.incident.as_mut()) {
                    incident.attribution =
                        Some(Attribution { culprit: *culprit, evidence: evidence.clone() });
                }
            }
            Record::ReleaseFailed { node, instance, digest, host, detail } => {
                let failure = FreshFailure {
                    at,
                    node: node.clone(),
                    instance: *instance,
                    host: *host,
                    detail: detail.clone(),
                };
                self.releases.entry(digest.clone()).or_default().failed(failure);
                forget_oldest(&mut self.releases);
            }
            Record::ReleaseCondemned { digest, evidence } => {
                let standing = self.releases.entry(digest.clone()).or_default();
                standing.seen_at = at;
                standing.condemned = Some(Condemned { at, evidence: evidence.clone() });
            }
            Record::ReleaseCleared { digest, .. } => {
                self.quarantine.retain(|_, pair| pair.release.digest != *digest);
                if let Some(standing) = self.releases.get_mut(digest) {
                    standing.condemned = None;
                    standing.failures.clear();
                }
            }
            _ => {}
        }
    }

    /// A server of this release is healthy.
    pub(super) fn prove(&mut self, at: Timestamp, release: Option<Digest>) {
        let Some(digest) = release else { return };
        self.releases.entry(digest).or_default().proven(at);
        forget_oldest(&mut self.releases);
    }
}
