//! The deploy itself: from an artifact here to a verified release there.

use std::{collections::BTreeMap, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;

use super::{
    artifact::{Artifact, sha256},
    assessment::Assessment,
    env_file::{identity_file, settings_file},
    fault::DeployFault,
    half_way::MIGRATION,
    method::Method,
    plan::{Plan, Wanted, plan},
    request::{DeployRequest, Deployed, StepReport, Strategy},
    required,
    run::{Run, in_time, script},
    step::{Part, Step},
};
use crate::{
    fleet::journal::ReleaseRef,
    remote::{Remote, Script, Upload},
};

/// Digits of the settings' digest in a release's name.
const SETTINGS_DIGITS: usize = 12;

/// Deploys to one box. Idempotent: killed anywhere and called again, it converges. Dropping the future stops it between
/// two steps; what the box is doing at that moment it finishes by itself, within that script's limit, and a release that
/// nobody confirms it leaves by itself.
///
/// # Errors
/// [`DeployFault`] tells whose fault it is, and whether the box went back to what it ran before.
pub async fn deploy(
    remote: &Remote,
    request: &DeployRequest,
    progress: &mpsc::Sender<StepReport>,
) -> Result<Deployed, DeployFault> {
    // Faults of the configuration are found before the box is touched.
    let release = Release::of(remote, request)?;
    let mut run = Run::new(remote, &request.site, &request.env, progress).leasing();
    let outcome = in_time(request.site.deadline, forward(&mut run, request, &release)).await;
    run.ended(request.maintenance.as_ref(), outcome).await
}

/// What would be done on the box, which is asked and not changed.
///
/// # Errors
/// As [`deploy`], before anything is sent.
pub async fn dry_run(remote: &Remote, request: &DeployRequest) -> Result<(String, Plan), DeployFault> {
    let release = Release::of(remote, request)?;
    let (progress, _untaken) = mpsc::channel(1);
    let mut run = Run::new(remote, &request.site, &request.env, &progress);
    let work = async {
        run.connect().await?;
        assess(&mut run, request, &release).await
    };
    let result = in_time(request.site.deadline, work).await.unwrap_or_else(|| Err(run.too_late()));
    run.close().await;
    result.map(|plan| (release.name, plan))
}

/// A release as it stands on a box: program and settings.
struct Release {
    name: String,
    settings: secrecy::zeroize::Zeroizing<String>,
    settings_digest: String,
    identity: String,
    manager: String,
}

impl Release {
    fn of(remote: &Remote, request: &DeployRequest) -> Result<Self, DeployFault> {
        let settings = settings_file(&request.env)?;
        required::check(&request.method.required, &request.env)?;
        let manager = request.method.manager.text(&request.env);
        let name = release_name(remote, &request.artifact, &request.env, &request.method)?;
        let identity = identity_file(&request.site.op, request.site.server_port);
        let settings_digest = sha256(settings.as_bytes());
        Ok(Self { name, settings, settings_digest, identity, manager })
    }

    /// The values that every script of a deploy may use.
    fn named(&self, script: Script, request: &DeployRequest) -> Script {
        script
            .value("name", self.name.as_str())
            .value("artifact", request.artifact.name())
            .value("digest", request.artifact.digest.as_str())
            .value("commit", request.artifact.commit.as_str())
            .value("settings", self.settings_digest.as_str())
            .value("identity", sha256(self.identity.as_bytes()))
            .value("tree", if matches!(request.method.strategy, Strategy::Git(_)) { "yes" } else { "no" })
            .value("manager", self.manager.as_str())
            .value(
                "schema",
                request.method.schema.map(|schema| schema.version.to_string()).unwrap_or_default(),
            )
    }
}

/// The name that a program and its settings have on every box.
///
/// # Errors
/// The settings cannot be written to a file, or the SSH key, which keeps their digest private, cannot be read.
pub fn release_name(
    remote: &Remote,
    artifact: &Artifact,
    env: &BTreeMap<String, SecretString>,
    method: &Method,
) -> Result<String, DeployFault> {
    // What keeps the server running goes back with the release, as its settings do.
    let mut pair = settings_file(env)?;
    pair.push_str(&method.manager.text(env));
    let private = remote
        .private_digest(pair.as_bytes())
        .map_err(|error| DeployFault::Release(format!("cannot read the SSH key: {error}")))?;
    let digits = private.get(..SETTINGS_DIGITS).unwrap_or(&private);
    Ok(format!("{}-{digits}", artifact.name()))
}

/// The name of the release on every box.
#[cfg(test)]
pub(super) fn name_of(remote: &Remote, request: &DeployRequest) -> Result<String, DeployFault> {
    Release::of(remote, request).map(|release| release.name)
}

impl Run<'_> {
    /// Takes over whoever holds the server's port, as the release to go back to.
    async fn adopt(&mut self) -> Result<String, DeployFault> {
        let foreign = self.foreign.clone().unwrap_or_default();
        let pid = foreign.split(' ').next().unwrap_or_default();
        let name = format!("adopted-{:012x}", fastrand::u64(..1 << 48));
        let script = script!("adopt.sh").value("pid", pid).value("name", name.as_str());
        self.script(Step::Adopt, script, b"").await?;
        self.current.clone_from(&name);
        Ok(format!("process {foreign} is release {name}"))
    }
}

/// Everything of a deploy that changes nothing yet: the release is brought to the box and sealed there, ready to be switched
/// to. What is there already is left alone. Returns the release's name.
///
/// # Errors
/// As [`deploy`], before anything is switched.
pub async fn bring(
    remote: &Remote,
    request: &DeployRequest,
    progress: &mpsc::Sender<StepReport>,
) -> Result<String, DeployFault> {
    let release = Release::of(remote, request)?;
    let mut run = Run::new(remote, &request.site, &request.env, progress).leasing();
    let work = async {
        run.connect().await?;
        let plan = assess(&mut run, request, &release).await?;
        let incoming = format!("keeper/incoming/{}", request.artifact.name());
        let upload = Upload::new(incoming, request.artifact.size, request.artifact.digest.clone());
        for step in plan.steps.iter().filter(|step| step.part() == Part::Deploy) {
            run.begin(*step);
            let detail = match step {
                Step::Upload => run.upload(&request.artifact, &upload).await?,
                Step::Verify => run.verify(&request.artifact, &upload).await?,
                Step::Build => {
                    let artifact = &request.artifact;
                    Box::pin(run.build(&request.method.strategy, &release.name, artifact)).await?
                }
                Step::Seal => {
                    let script = release.named(script!("seal.sh"), request);
                    run.done(*step, script, release.settings.as_bytes()).await?
                }
                _ => String::new(),
            };
            run.finish(detail.trim().to_owned());
        }
        Ok(())
    };
    let result = in_time(request.site.deadline, work).await.unwrap_or_else(|| Err(run.too_late()));
    run.close().await;
    result.map(|()| release.name)
}

async fn assess(run: &mut Run<'_>, request: &DeployRequest, release: &Release) -> Result<Plan, DeployFault> {
    run.begin(Step::Assess);
    let host = request.env.get("HOST").map(|host| host.expose_secret().to_owned()).unwrap_or_default();
    let assess = Script::new(concat!(
        include_str!("scripts/prologue.sh"),
        include_str!("scripts/holders.sh"),
        include_str!("scripts/assess.sh")
    ));
    let script = release
        .named(assess, request)
        .value("host", host)
        .value("port", request.site.server_port.to_string());
    let output = run.patiently(Step::Assess, script).await?;
    let found = Assessment::read(&output.stdout).map_err(DeployFault::Box)?;
    run.began = found.began;
    run.current = found.current.clone().unwrap_or_default();
    run.inherits(found.maintenance.clone(), found.data_half_way.clone());
    let wanted = Wanted {
        strategy: &request.method.strategy,
        name: &release.name,
        size: request.artifact.size,
        arch: request.artifact.arch.as_deref(),
        restart: request.restart,
        force: request.force,
        rest: request.maintenance.is_some(),
        smoke: !request.smoke.is_empty(),
        migrate: request.method.migrate.run.is_some(),
        adopt: request.method.adopt,
        schema: request.method.schema.map(|schema| schema.version),
    };
    let mut plan = plan(&wanted, &found)?;
    // A migration may mend what another one left, and nothing else.
    let mends = |what: &String| plan.steps.contains(&Step::Migrate) && what.starts_with(MIGRATION);
    if !run.half_way.as_ref().is_some_and(mends) {
        run.unless_half_way()?;
    }
    run.switched = found.trial.is_some();
    run.foreign = found.foreign.clone();
    // A deploy that has nothing to do takes no time to look around.
    if plan.steps != [Step::Gate] {
        plan.found = Box::pin(run.facts(&found, request, &release.name)).await;
        for fact in &plan.found {
            run.going(Step::Assess, run.under_way.map_or(Duration::ZERO, |(_, began)| began.elapsed()), fact);
        }
    }
    let note = plan.note.map(|note| format!("; {note}")).unwrap_or_default();
    run.finish(format!("{} MiB free{note}", found.free_bytes >> 20));
    Ok(plan)
}

async fn forward(
    run: &mut Run<'_>,
    request: &DeployRequest,
    release: &Release,
) -> Result<Deployed, DeployFault> {
    run.connect().await?;
    let plan = assess(run, request, release).await?;
    let artifact = &request.artifact;
    let incoming = format!("keeper/incoming/{}", artifact.name());
    // Kept for both halves: the second may be repeated over another connection.
    let upload = Upload::new(incoming, artifact.size, artifact.digest.clone());
    let maintenance = request.maintenance.as_ref();
    let place = match request.method.strategy {
        Strategy::Git(_) => format!("releases/{}/tree", release.name),
        Strategy::Artifact | Strategy::Docker(_) => "data".to_owned(),
    };
    let mut closed = None;
    for step in &plan.steps {
        run.begin(*step);
        let ended = match step {
            Step::Connect | Step::Assess | Step::Restore => Ok(String::new()),
            Step::Upload => run.upload(artifact, &upload).await,
            Step::Verify => run.verify(artifact, &upload).await,
            Step::Seal => {
                let script = release.named(script!("seal.sh"), request);
                run.done(*step, script, release.settings.as_bytes()).await
            }
            Step::Adopt => Box::pin(run.adopt()).await,
            Step::Build => Box::pin(run.build(&request.method.strategy, &release.name, artifact)).await,
            Step::Backup => Box::pin(run.back_up(&request.method.backup)).await,
            Step::Migrate => Box::pin(run.migrate(&request.method.migrate, &release.name, &place)).await,
            Step::Enter => match maintenance {
                Some(with) => Box::pin(run.enter(with, &release.name)).await,
                None => Ok(String::new()),
            },
            Step::Configure => run.done(*step, script!("configure.sh"), release.identity.as_bytes()).await,
            Step::Switch => match run.still_at_rest().await {
                Ok(()) => {
                    run.switch(&release.name, request.method.schema, false).await.map(|()| String::new())
                }
                Err(fault) => Err(fault),
            },
            Step::Start => run.start(&release.name).await.map(|began| {
                run.began = Some(began);
                String::new()
            }),
            // What has been serving was steady before.
            Step::Gate => Box::pin(run.pass_gate(None, run.began.unwrap_or(0), plan.steps.len() > 1)).await,
            Step::Smoke => Box::pin(run.smoke(&request.smoke)).await,
            Step::Confirm => run.confirm(&release.name).await,
            Step::Exit => {
                closed = Box::pin(run.leave(maintenance)).await;
                Ok(closed.clone().unwrap_or_default())
            }
            Step::Prune => Ok(run.prune().await),
        };
        match ended {
            Ok(detail) => run.finish(detail.trim().to_owned()),
            Err(fault) => return Err(Box::pin(run.go_back(&release.name, fault)).await),
        }
    }
    Ok(Deployed {
        release: ReleaseRef { digest: artifact.digest.clone(), commit: artifact.commit.clone() },
        name: release.name.clone(),
        unchanged: plan.steps == [Step::Gate],
        closed,
        steps: run.taken.clone(),
        round_trips: run.round_trips,
    })
}
