//! Where the nodes are reached, published outside: after every change, once after each start, and again until it is done.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::{
    super::{command::Command, event::IllegalEvent, journal::Record, name::NodeName, tell},
    Turn,
};

/// An attempt that nothing is heard of for so long is made again; the publisher's own limits are shorter.
const HEARD_WITHIN: Duration = Duration::from_secs(180);
/// The longest wait between two attempts.
const AGAIN_MOST: Duration = Duration::from_secs(60);

impl Turn<'_> {
    /// Publishes what is not published yet.
    pub(super) fn publish(&mut self) {
        let (now, policy) = (self.now(), self.context.policy);
        if !policy.publish || policy.observe_only {
            return;
        }
        let addresses = self.fleet.addresses();
        let publishing = &mut self.memory.publishing;
        let current = publishing.done && self.fleet.published.as_ref() == Some(&addresses);
        let under_way = publishing.since.is_some_and(|since| now.since(since) < HEARD_WITHIN);
        if current || under_way || now < publishing.not_before {
            return;
        }
        publishing.since = Some(now);
        self.order(Command::Publish { addresses });
    }

    pub(super) fn published(
        &mut self,
        addresses: BTreeMap<NodeName, SocketAddr>,
        result: Result<(), String>,
    ) -> Result<(), IllegalEvent> {
        let now = self.now();
        let publishing = &mut self.memory.publishing;
        publishing.since = None;
        match result {
            Ok(()) => {
                publishing.done = true;
                publishing.not_before = now;
                let failed = std::mem::take(&mut publishing.failures);
                if failed > 0 {
                    let notice = tell::published_again(now, failed);
                    self.tell(notice);
                }
                if self.fleet.published.as_ref() != Some(&addresses) {
                    self.record(Record::Published { addresses })?;
                }
            }
            Err(why) => {
                publishing.done = false;
                publishing.failures = publishing.failures.saturating_add(1);
                let doubled = Duration::from_secs(1 << publishing.failures.min(6));
                publishing.not_before = now.after(doubled.min(AGAIN_MOST));
                if publishing.failures == 1 {
                    let notice = tell::not_published(now, &why);
                    self.tell(notice);
                }
            }
        }
        // What changed meanwhile is published at once.
        self.publish();
        Ok(())
    }
}
