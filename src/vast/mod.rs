//! The client of the Vast.ai API: lists, searches, rents, destroys, and says exactly how sure it is of each outcome.
//!
//! ```text
//! Vast ── endpoint.rs  what is called, and how often the provider lets it be called
//!      ├─ pacer.rs     waits for a turn, or says that there is none in time
//!      ├─ transport.rs one HTTP exchange, bounded in time and size; what was provably not sent is told apart
//!      ├─ error.rs     the one table that understands the provider's error codes and texts
//!      ├─ answers.rs   an exchange's result as an answer of `fleet::provider`
//!      ├─ rent.rs      the body of a create        ├─ offers.rs  the search, there and back
//!      ├─ wire.rs      tolerant scalars            └─ list.rs    pages of instances into one complete list
//!      └─ charges.rs   pages of what was charged
//! ```
//!
//! Deliberately absent: retries. A create has no idempotency key, so it is sent once and, when in doubt, looked for by
//! its label; a failed read is asked again by the caller's next tick. Also absent: every field that is a secret
//! (`instance_api_key`, `jupyter_token`), which is dropped where the answer is decoded.

mod answers;
mod charges;
mod endpoint;
mod error;
mod list;
mod offers;
mod pacer;
mod rent;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

use std::{fmt, time::Duration};

use secrecy::SecretString;
use serde_json::json;
use url::Url;

pub use error::VastError;
pub use rent::CreateRequest;

use self::{charges::ChargePages, endpoint::Endpoint, list::Pages, transport::Call, transport::Transport};
use crate::{
    clock::Clock,
    fleet::{
        charge::Charges,
        name::{InstanceId, Label},
        offer::OfferPolicy,
        provider::{CreateAnswer, Credit, DestroyAnswer, Inventory, OffersFound, ProviderFault, StartAnswer},
        units::{Money, Timestamp},
    },
};

/// Most pages one list is read over: 10,000 instances at the provider's 25 a page.
const MAX_PAGES: usize = 400;

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct VastConfig {
    /// The root of the API, `https://console.vast.ai` in earnest. Plain `http` only on a loopback address: the key
    /// travels in every request.
    pub base_url: Url,
    /// The account's API key, with the scopes `misc`, `instance_read`, `instance_write` and `user_read`.
    pub api_key: SecretString,
    /// The keeper's clock; deadlines are instants of it.
    pub clock: Clock,
    /// Longest wait for a whole answer once a call has its turn.
    pub timeout: Duration,
    /// Scale of the published spacing between calls: 1 in earnest, less against a simulator, 0 for none. Waits that the
    /// provider asks for are kept whatever it is.
    pub pacing: f64,
}

/// A client for one account. Calls may overlap; those to one endpoint take turns in the order they came.
pub struct Vast {
    transport: Transport,
    clock: Clock,
}

impl fmt::Debug for Vast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vast").finish_non_exhaustive()
    }
}

impl Vast {
    /// Prepares a client; contacts nobody.
    ///
    /// # Errors
    ///
    /// A base URL that is no root of an API or would send the key in the clear, a key that fits no header, or no usable
    /// TLS roots.
    pub fn new(config: VastConfig) -> Result<Self, VastError> {
        let clock = config.clock;
        Ok(Self { transport: Transport::new(config)?, clock })
    }

    /// Reads the complete list of the account's instances, foreign ones included.
    ///
    /// # Errors
    ///
    /// Any page that fails, does not decode, or contradicts the others in their `total_instances`: part of a list is no
    /// list, and an empty one is believed only when the provider itself counts zero.
    pub async fn inventory(&self) -> Result<Inventory, ProviderFault> {
        let started_at = self.clock.now();
        let mut pages = Pages::default();
        let mut after: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let call = Call::read(Endpoint::List, "/api/v1/instances/")
                .query("limit", "25")
                .query("order_by", r#"[{"col":"id","dir":"asc"}]"#)
                .query("select_filters", "{}");
            let call = match after {
                Some(cursor) => call.query("after_token", cursor),
                None => call,
            };
            let page = answers::object(self.transport.exchange(call).await)?;
            after = pages.add(&page).map_err(wire::malformed)?;
            if after.is_none() {
                let rentals = pages.finish().map_err(wire::malformed)?;
                return Ok(Inventory { started_at, rentals });
            }
        }
        Err(ProviderFault::Malformed {
            detail: format!("the list of instances goes on after {MAX_PAGES} pages"),
        })
    }

    /// Searches offers that meet the policy's query and its floors, cheapest first, priced with `disk_gb` of storage. At
    /// most 64 come back (Vast.ai API, as observed), hence the floors in the request; choosing among them is
    /// [`select`](crate::fleet::offer::select)'s business, which checks everything again.
    ///
    /// # Errors
    ///
    /// Anything but a well-formed list of offers, an empty one included.
    pub async fn search(&self, policy: &OfferPolicy, disk_gb: u32) -> Result<OffersFound, ProviderFault> {
        self.find(policy, offers::request(policy, disk_gb, offers::Breadth::Floors)).await
    }

    /// Like [`search`](Self::search) with the policy's query alone, to show people what its floors keep out.
    ///
    /// # Errors
    ///
    /// As [`search`](Self::search).
    pub async fn survey(&self, policy: &OfferPolicy, disk_gb: u32) -> Result<OffersFound, ProviderFault> {
        self.find(policy, offers::request(policy, disk_gb, offers::Breadth::QueryOnly)).await
    }

    async fn find(
        &self,
        policy: &OfferPolicy,
        body: serde_json::Value,
    ) -> Result<OffersFound, ProviderFault> {
        let kind = offers::Kind::of(policy);
        let call = Call::read(Endpoint::Search, "/api/v0/bundles/").body(body);
        let page = answers::object(self.transport.exchange(call).await)?;
        offers::decode(&page, kind).map_err(wire::malformed)
    }

    /// Rents an offer. Sent at most once, and not after `request.not_after`.
    pub async fn create(&self, request: CreateRequest<'_>) -> CreateAnswer {
        let path = format!("/api/v0/asks/{}/", request.offer);
        let call = Call::write(Endpoint::Create, path, request.not_after).body(request.body());
        answers::create(self.transport.exchange(call).await)
    }

    /// Destroys an instance. Not sent after `not_after`. An acknowledgement is not yet proof: complete lists are.
    pub async fn destroy(&self, instance: InstanceId, not_after: Timestamp) -> DestroyAnswer {
        let path = format!("/api/v0/instances/{instance}/");
        let call = Call::write(Endpoint::Destroy, path, not_after).body(json!({}));
        answers::destroy(self.transport.exchange(call).await)
    }

    /// Stops and starts an instance's container; disk, GPU and address stay. Not sent after `not_after`.
    ///
    /// # Errors
    ///
    /// Anything but the provider's explicit success.
    pub async fn reboot(&self, instance: InstanceId, not_after: Timestamp) -> Result<(), ProviderFault> {
        let path = format!("/api/v0/instances/reboot/{instance}/");
        let call = Call::write(Endpoint::Reboot, path, not_after).body(json!({}));
        answers::done(self.transport.exchange(call).await)
    }

    /// Lets a stopped instance run, with `bid` dollars an hour bid for it before if it is interruptible. Not sent after
    /// `not_after`; repeating it is harmless.
    pub async fn start(&self, instance: InstanceId, bid: Option<Money>, not_after: Timestamp) -> StartAnswer {
        if let Some(bid) = bid
            && let Err(fault) = self.change_bid(instance, bid, not_after).await
        {
            return StartAnswer::Failed(fault);
        }
        // A raise alone does not bring a box back, which was measured; nor does a start harm one that is up.
        let path = format!("/api/v0/instances/{instance}/");
        let call = Call::write(Endpoint::Change, path, not_after).body(json!({ "state": "running" }));
        answers::started(self.transport.exchange(call).await)
    }

    async fn change_bid(
        &self,
        instance: InstanceId,
        bid: Money,
        not_after: Timestamp,
    ) -> Result<(), ProviderFault> {
        let path = format!("/api/v0/instances/bid_price/{instance}/");
        // `client_id` is what the provider's own command line sends.
        let body = json!({ "client_id": "me", "price": bid.dollars() });
        let call = Call::write(Endpoint::ChangeBid, path, not_after).body(body);
        answers::done(self.transport.exchange(call).await)
    }

    /// Gives an instance another label. Not sent after `not_after`; repeating it is harmless.
    ///
    /// # Errors
    ///
    /// Anything but the provider's explicit success.
    pub async fn relabel(
        &self,
        instance: InstanceId,
        label: &Label,
        not_after: Timestamp,
    ) -> Result<(), ProviderFault> {
        let path = format!("/api/v0/instances/{instance}/");
        let call = Call::write(Endpoint::Change, path, not_after).body(json!({ "label": label.to_string() }));
        answers::done(self.transport.exchange(call).await)
    }

    /// Lets a public key in over SSH. Repeating it is harmless, so it has no expiry.
    ///
    /// # Errors
    ///
    /// Anything but the provider's explicit success or its word that the key is there already.
    pub async fn attach_key(&self, instance: InstanceId, public_key: &str) -> Result<(), ProviderFault> {
        let path = format!("/api/v0/instances/{instance}/ssh/");
        let call = Call::read(Endpoint::AttachKey, path).body(json!({ "ssh_key": public_key.trim() }));
        answers::attached(self.transport.exchange(call).await)
    }

    /// What the account was charged from the start of a day until now.
    ///
    /// # Errors
    ///
    /// Any page that fails or does not decode, or fewer rows than the provider counts.
    pub async fn charges(&self, from: Timestamp) -> Result<Charges, ProviderFault> {
        let days = json!({
            "day": { "gte": from.0 / 1000, "lte": self.clock.civil().0 / 1000 },
            "type": { "in": ["instance"] },
        });
        let mut pages = ChargePages::default();
        let mut after: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let call = Call::read(Endpoint::Charges, "/api/v0/charges/")
                .query("select_filters", days.to_string())
                .query("latest_first", "false")
                .query("limit", "100")
                .query("format", "table");
            let call = match after {
                Some(cursor) => call.query("after_token", cursor),
                None => call,
            };
            let page = answers::object(self.transport.exchange(call).await)?;
            after = pages.add(&page).map_err(wire::malformed)?;
            if after.is_none() {
                return pages.finish(from).map_err(wire::malformed);
            }
        }
        Err(ProviderFault::Malformed { detail: format!("the charges go on after {MAX_PAGES} pages") })
    }

    /// What the account can spend.
    ///
    /// # Errors
    ///
    /// Anything but an account with a number of dollars in `credit`.
    pub async fn credit(&self) -> Result<Credit, ProviderFault> {
        let call = Call::read(Endpoint::Account, "/api/v0/users/current/");
        let account = answers::object(self.transport.exchange(call).await)?;
        wire::credit(&account).map_err(wire::malformed)
    }
}
