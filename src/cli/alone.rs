//! Decisions without a daemon: the same core, journaled under the state's own lock.

use super::exit::{self, Failure, chain};
use crate::{
    clock::Clock,
    config::Config,
    daemon, engine,
    fleet::{
        event::{Context, Event, Reply},
        memory::Memory,
        notice::Notice,
        step::step,
    },
    store::{Batch, Loaded, OpenError, Store},
};

/// Stores what is to be told, for the keeper that runs next.
pub(super) async fn tell(config: &Config, notice: Notice) -> Result<(), Failure> {
    let store = open(config)?.0;
    let notices = daemon::addressed(config, vec![notice]).map_err(super::setup::start_failure)?;
    let stored = store.commit(Batch { notices, ..Batch::default() }).await;
    stored.map_err(|fault| Failure::new(exit::UNKNOWN, chain(&fault)))?;
    store.close().await;
    Ok(())
}

fn open(config: &Config) -> Result<(Store, Loaded), Failure> {
    Store::open(&config.state_dir).map_err(|fault| {
        let code = if matches!(fault, OpenError::Locked { .. }) { exit::LOCKED } else { exit::UNREACHABLE };
        Failure::new(code, chain(&fault))
    })
}

/// Decides and journals one event. What it tells waits in the state until a keeper runs that can send it.
pub(super) async fn decide(config: &Config, event: Event) -> Result<Reply, Failure> {
    let (store, loaded) = open(config)?;
    let defect = |fault: String| Failure::new(exit::BUG, fault).hint("nothing was changed");
    let mut fleet = engine::fold(loaded).map_err(|fault| defect(fault.to_string()))?;
    let now = Clock::new().now();
    let context = Context { now, policy: &config.policy, random: fastrand::u64(..) };
    let mut memory = Memory::starting(now, config.policy.rails.warm_up);
    let decided =
        step(&mut fleet, &mut memory, event, &context).map_err(|fault| defect(fault.to_string()))?;
    if !decided.entries.is_empty() || !decided.notices.is_empty() {
        let notices = daemon::addressed(config, decided.notices).map_err(super::setup::start_failure)?;
        let batch = Batch { entries: decided.entries, notices, ..Batch::default() };
        store.commit(batch).await.map_err(|fault| Failure::new(exit::UNKNOWN, chain(&fault)))?;
    }
    store.close().await;
    decided.reply.ok_or_else(|| defect("the core gave no answer".into()))
}
