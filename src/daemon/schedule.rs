//! What happens by the clock: cron expressions that kick level-triggered work.
//!
//! `tokio-cron-scheduler` may lose or overlap runs, so a kick only wakes what the engine would find by itself; the engine
//! never depends on one. Six fields, seconds first, in UTC.

use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Schedule,
    engine::{Handle, Kick},
};

pub(super) async fn start(
    schedule: &Schedule,
    engine: &Handle,
    stop: &CancellationToken,
) -> Result<(), String> {
    let wanted = [
        (&schedule.inventory_sweep, Kick::InventorySweep),
        (&schedule.orphan_check, Kick::OrphanCheck),
        (&schedule.digest, Kick::Digest),
        (&schedule.nightly_redeploy, Kick::NightlyRedeploy),
    ];
    let mut scheduler = JobScheduler::new().await.map_err(|fault| fault.to_string())?;
    for (expression, kick) in wanted {
        let Some(expression) = expression else { continue };
        let engine = engine.clone();
        let job = Job::new_async(expression.as_str(), move |_, _| {
            let engine = engine.clone();
            Box::pin(async move {
                tracing::debug!(?kick, "scheduled work is due");
                // The engine ends only with the program; then nothing is due any more.
                let _ = engine.kick(kick).await;
            })
        });
        let job = job.map_err(|fault| format!("`{expression}`: {fault}"))?;
        scheduler.add(job).await.map_err(|fault| fault.to_string())?;
    }
    scheduler.start().await.map_err(|fault| fault.to_string())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        stop.cancelled().await;
        if let Err(fault) = scheduler.shutdown().await {
            tracing::debug!(%fault, "the scheduler did not stop in order");
        }
    });
    Ok(())
}
