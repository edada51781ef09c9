//! Restoring a backup: the data of then, under the release and the settings of then.
//!
//! Nothing is touched before the backup has proven whole, and the state of now is backed up first: a restore can be undone by
//! another one. What fails after the server was stopped is told with the name of that second backup, and the server stays in
//! maintenance; nobody plays on data of which half is gone.

use std::collections::BTreeMap;

use secrecy::SecretString;
use tokio::sync::mpsc;

use super::{
    backup::{Backup, Kept},
    fault::DeployFault,
    job::Job,
    request::{Deployed, Maintenance, Site, StepReport},
    run::{Run, in_time, script},
    step::Step,
    stock::Standing,
};
use crate::remote::Remote;

/// One restore on one box.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// Where. The gate's commit is not used: the release on the box tells its own.
    pub site: Site,
    /// The backup's name, or the beginning of it; `None` for the youngest with a dump.
    pub backup: Option<String>,
    /// How a dump is proven and brought back.
    pub with: Backup,
    /// The server's present settings, whose values are masked in what is shown.
    pub env: BTreeMap<String, SecretString>,
    /// As for a deploy.
    pub maintenance: Option<Maintenance>,
}

/// Restores a backup on one box. Returns the release that serves then.
///
/// # Errors
/// [`DeployFault::Release`] if there is no such backup, it is damaged or cannot be brought back, before anything is changed;
/// [`DeployFault::Halfway`] when it failed after the server was stopped; else as [`deploy`](super::deploy()).
pub async fn restore(
    remote: &Remote,
    request: &RestoreRequest,
    progress: &mpsc::Sender<StepReport>,
) -> Result<Deployed, DeployFault> {
    let mut run = Run::new(remote, &request.site, &request.env, progress).leasing();
    let outcome = in_time(request.site.deadline, backward(&mut run, request)).await;
    run.ended(request.maintenance.as_ref(), outcome).await
}

async fn backward(run: &mut Run<'_>, request: &RestoreRequest) -> Result<Deployed, DeployFault> {
    run.connect().await?;
    run.begin(Step::Assess);
    let told = run.patiently(Step::Assess, script!("backups.sh").value("prove", "")).await?.stdout;
    let kept = chosen(&Kept::read(&told), request)?;
    let stock = run.stock().await?;
    run.inherits(stock.owed.clone(), stock.data_half_way.clone());
    let wanted = stock.releases.iter().find(|release| release.name == kept.release);
    let now = stock.current();
    let target = wanted.or(now).cloned();
    let target = target.ok_or_else(|| DeployFault::Release("no release stands on this box".into()))?;
    run.current = now.map(|release| release.name.clone()).unwrap_or_default();
    run.finish(format!("{} back, under {} (commit {})", kept.name, target.name, target.commit));

    run.begin(Step::Verify);
    run.prove(&kept, &request.with, &target).await?;
    run.finish(String::new());
    run.begin(Step::Backup);
    let words = Box::pin(run.keep_what_is_there(&request.with)).await?;
    run.finish(words);
    run.come_to_rest(request.maintenance.as_ref(), &kept.name).await?;
    run.begin(Step::Restore);
    run.still_at_rest().await?;
    let halfway = |run: &Run<'_>, fault: DeployFault| {
        let node = &request.site.node;
        let forward = match &run.backup {
            Some(before) => format!("`vast-keeper restore {node} --backup {before}` undoes it"),
            None => format!("restore another one: `vast-keeper backups {node}`"),
        };
        DeployFault::Halfway { what: format!("restoring `{}` failed: {fault}", kept.name), forward }
    };
    run.data_changes(Step::Restore, &format!("the restore of {}", kept.name)).await?;
    if let Err(fault) = run.bring_back(&kept, &request.with, &target).await {
        return Err(halfway(run, fault));
    }
    // The switch ends the note: until then the server of now must not meet this data.
    run.finish(String::new());
    if let Err(fault) = run.bring_up(&target.name, &target.commit, false).await {
        let fault = Box::pin(run.go_back(&target.name, fault)).await;
        return Err(halfway(run, fault));
    }
    Ok(run.serves(target))
}

/// The backup that is meant, if it can be brought back at all.
fn chosen(found: &[Kept], request: &RestoreRequest) -> Result<Kept, DeployFault> {
    let refused = |words: String| DeployFault::Release(words);
    let kept = match &request.backup {
        None => {
            let with_dump = found.iter().find(|kept| kept.dump_bytes.is_some());
            with_dump.ok_or_else(|| refused("there is no backup with a dump on this box".into()))?
        }
        Some(wanted) => {
            let mut named = found.iter().filter(|kept| kept.name.starts_with(wanted.as_str()));
            match (named.next(), named.next()) {
                (Some(kept), None) => kept,
                (None, _) => return Err(refused(format!("the box has no backup `{wanted}`"))),
                (Some(exact), Some(_)) if exact.name == *wanted => exact,
                _ => return Err(refused(format!("more than one backup is named like `{wanted}`"))),
            }
        }
    };
    if kept.dump_bytes.is_some() && request.with.restore.is_none() {
        let words = "nothing is configured that brings a dump back; hint: set `deploy.restore_command`";
        return Err(refused(words.into()));
    }
    if kept.dump_bytes.is_none() && !kept.stands {
        return Err(refused(format!(
            "`{}` holds no dump, and its release is gone: deploy it instead",
            kept.name
        )));
    }
    Ok(kept.clone())
}

impl Run<'_> {
    /// Compares the backup with its checksums, and has the configured check read its dump.
    async fn prove(&mut self, kept: &Kept, with: &Backup, target: &Standing) -> Result<(), DeployFault> {
        let script = script!("backups.sh").value("prove", kept.name.as_str());
        self.script(Step::Verify, script, b"").await?;
        if let (Some(check), Some(_)) = (&with.check, kept.dump_bytes) {
            let input = format!("backups/{}/dump", kept.name);
            let job = Job { input: &input, ..Job::new("backup-check", check, &target.name, with.limit) };
            let ended = self.job(Step::Verify, &job).await?;
            ended.good("the backup's check", self)?;
        }
        Ok(())
    }

    /// Backs the state of now up, unchecked: it may well be what a restore is needed for. One that cannot even be dumped is told,
    /// and stands in the way of nothing.
    async fn keep_what_is_there(&mut self, with: &Backup) -> Result<String, DeployFault> {
        match self.back_up(&Backup { check: None, ..with.clone() }).await {
            Err(fault @ (DeployFault::Release(_) | DeployFault::Box(_))) => {
                tracing::warn!(node = %self.site.node, %fault, "the state before the restore could not be kept");
                Ok(format!("not kept: {fault}"))
            }
            kept => kept,
        }
    }

    /// Stops the server and brings the data back.
    async fn bring_back(&mut self, kept: &Kept, with: &Backup, target: &Standing) -> Result<(), DeployFault> {
        self.switched = true;
        let stop = script!("control.sh").value("verb", "stop");
        self.script(Step::Restore, stop, b"").await?;
        let (Some(restore), Some(_)) = (&with.restore, kept.dump_bytes) else { return Ok(()) };
        let input = format!("backups/{}/dump", kept.name);
        let job = Job { input: &input, ..Job::new("restore", restore, &target.name, with.limit) };
        let ended = self.job(Step::Restore, &job).await?;
        ended.good("the restore command", self)?;
        let note = script!("schema.sh").value("schema", format!("{} {}", kept.schema, kept.floor));
        self.script(Step::Restore, note, b"").await.map(drop)
    }
}
