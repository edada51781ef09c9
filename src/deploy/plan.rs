//! What is to be done, from what was found on the box. Pure.

use super::{
    assessment::Assessment,
    fault::DeployFault,
    request::{Restart, Strategy},
    step::Step,
};

/// Room that must stay on the box besides twice the artifact (its upload and its sealed copy): logs and data grow.
const DISK_MARGIN_BYTES: u64 = 256 * 1024 * 1024;
/// Inodes that must be free: a release takes fewer than ten.
const INODES_NEEDED: u64 = 64;
/// How often nobody may have confirmed a release before it is shunned. Once may be a keeper that died.
const UNCONFIRMED_ENOUGH: u32 = 2;

/// What is wanted on the box.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// How it comes there.
    pub strategy: &'a Strategy,
    /// The release's name.
    pub name: &'a str,
    /// Bytes of the program.
    pub size: u64,
    /// The processor it is for, as `uname -m` names it, if it is known.
    pub arch: Option<&'a str>,
    /// Whether what serves already is started anew.
    pub restart: Restart,
    /// Whether a release that this box once went back from is wanted all the same.
    pub force: bool,
    /// Whether a server that runs is brought to rest first.
    pub rest: bool,
    /// Whether anything is to be proven besides the gate.
    pub smoke: bool,
    /// Whether there is a command that brings the data to the schema of the release.
    pub migrate: bool,
    /// Whether what somebody else has started on the server's port is taken over.
    pub adopt: bool,
    /// The version of that schema, where it has one.
    pub schema: Option<u32>,
}

/// What is to be done after the assessment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// Why there are not more of them, if there is something to say.
    pub note: Option<&'static str>,
    /// What is known of the box and of what would change, a fact a line; names and numbers, no values.
    pub found: Vec<String>,
}

/// The steps that follow the assessment.
///
/// # Errors
/// The box cannot take this release: too little room, another processor, programs that its image lacks, or it once went
/// back from it.
pub fn plan(wanted: &Wanted<'_>, found: &Assessment) -> Result<Plan, DeployFault> {
    refuse_what_cannot_be(wanted, found)?;
    let current = found.sealed && found.current.as_deref() == Some(wanted.name) && found.server_alive;
    if current && found.same_identity {
        if found.trial.as_deref() == Some(wanted.name) && found.began.is_some() {
            // A deploy was cut after the start: what it began is proven, not begun anew.
            let mut steps = vec![Step::Gate];
            steps.extend(wanted.smoke.then_some(Step::Smoke));
            steps.push(Step::Confirm);
            steps.extend(found.maintenance.is_some().then_some(Step::Exit));
            steps.push(Step::Prune);
            return Ok(Plan {
                steps,
                note: Some("an earlier deploy started it; taking up at the gate"),
                found: Vec::new(),
            });
        }
        // On trial and not started since: what runs is still the release of before.
        if wanted.restart == Restart::IfChanged && found.verified && found.trial.is_none() {
            return Ok(Plan {
                steps: vec![Step::Gate],
                note: Some("this release serves already"),
                found: Vec::new(),
            });
        }
    }
    let mut steps = Vec::new();
    if !found.sealed {
        if !found.uploaded {
            steps.extend([Step::Upload, Step::Verify]);
        }
        steps.extend((*wanted.strategy != Strategy::Artifact).then_some(Step::Build));
        steps.push(Step::Seal);
    }
    let adopt = found.foreign.is_some();
    steps.extend(adopt.then_some(Step::Adopt));
    let rest = wanted.rest && (found.server_alive || adopt);
    // What serves is started anew: it changes nothing that would have to be brought back, and its data fits it.
    let other = found.current.as_deref() != Some(wanted.name);
    steps.extend((other && (adopt || found.current.is_some())).then_some(Step::Backup));
    // What is slow and may fail is done; from here on people notice.
    steps.extend(rest.then_some(Step::Enter));
    steps.push(Step::Configure);
    steps.extend((other && wanted.migrate).then_some(Step::Migrate));
    steps.extend([Step::Switch, Step::Start, Step::Gate]);
    steps.extend(wanted.smoke.then_some(Step::Smoke));
    steps.push(Step::Confirm);
    steps.extend((rest || found.maintenance.is_some()).then_some(Step::Exit));
    steps.push(Step::Prune);
    Ok(Plan { steps, ..Plan::default() })
}

fn refuse_what_cannot_be(wanted: &Wanted<'_>, found: &Assessment) -> Result<(), DeployFault> {
    if !found.missing.is_empty() {
        let missing = found.missing.join("`, `");
        return Err(DeployFault::Release(format!("the box image lacks `{missing}`")));
    }
    if let Some(arch) = wanted.arch.filter(|arch| *arch != found.arch) {
        let detail = format!("its processor is `{}`, the artifact is for `{arch}`", found.arch);
        return Err(DeployFault::Box(detail));
    }
    if let Some(version) = wanted.schema.filter(|version| u64::from(*version) < found.schema_floor) {
        let detail = format!(
            "it knows schema {version}, and the data on the box can be read from schema {} on; hint: deploy a release \
             that knows it, or `vast-keeper restore NODE` brings back the data from before",
            found.schema_floor
        );
        return Err(DeployFault::Release(detail));
    }
    if let Some(foreign) = found.foreign.as_ref().filter(|_| !wanted.adopt || found.current.is_some()) {
        let way = if found.current.is_some() {
            "stop it"
        } else {
            "stop it, or `--set deploy.adopt=adopt` takes it over"
        };
        let detail =
            format!("the server's port is held by process {foreign}, which is not ours; hint: {way}");
        return Err(DeployFault::Box(detail));
    }
    if let Some(bad) = found.bad.as_ref().filter(|_| !wanted.force)
        && (bad.at_fault || bad.times >= UNCONFIRMED_ENOUGH)
    {
        let detail = format!("this box went back from `{}` before: {}", wanted.name, bad.why);
        return Err(DeployFault::Release(detail));
    }
    if !found.sealed {
        let copies = if found.uploaded { 1 } else { 2 };
        let needed = wanted.size.saturating_mul(copies).saturating_add(DISK_MARGIN_BYTES);
        if found.free_bytes < needed {
            let detail = format!("{} MiB free, {} MiB needed", found.free_bytes >> 20, needed >> 20);
            return Err(DeployFault::Box(detail));
        }
        if let Some(free) = found.free_inodes.filter(|free| *free < INODES_NEEDED) {
            return Err(DeployFault::Box(format!("{free} inodes free, {INODES_NEEDED} needed")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "aaaaaaaaaaaa-bbbbbbbbbbbb";
    const TAIL: [Step; 6] =
        [Step::Configure, Step::Switch, Step::Start, Step::Gate, Step::Confirm, Step::Prune];

    fn wanted() -> Wanted<'static> {
        Wanted {
            strategy: &Strategy::Artifact,
            name: NAME,
            size: 1 << 20,
            arch: Some("x86_64"),
            restart: Restart::Always,
            force: false,
            rest: false,
            smoke: false,
            migrate: false,
            adopt: false,
            schema: None,
        }
    }

    /// A box with these lines besides what every box tells.
    fn found(lines: &str) -> Assessment {
        let report = format!("arch=x86_64\nfree_kb=1000000\nfree_inodes=-\nmissing=\n{lines}");
        Assessment::read(&report).unwrap()
    }

    const FRESH: &str = "release=absent\nincoming=absent\n";
    const SERVING: &str = "release=sealed\nincoming=whole\ncurrent=aaaaaaaaaaaa-bbbbbbbbbbbb\n\
        verified=yes\nidentity=same\nserver_server=alive\n";

    #[test]
    fn only_what_is_not_there_yet_is_done() {
        let steps = |lines: &str| plan(&wanted(), &found(lines)).unwrap().steps;
        assert_eq!(steps("release=sealed\nincoming=absent\n"), TAIL);
        assert_eq!(steps("release=damaged\nincoming=whole\n"), [&[Step::Seal][..], &TAIL].concat());
        assert_eq!(steps(FRESH), [&[Step::Upload, Step::Verify, Step::Seal][..], &TAIL].concat());
    }

    #[test]
    fn what_was_switched_to_and_not_started_does_not_serve() {
        let cut = found(&format!("{SERVING}trial={NAME}\n"));
        let lazy = Wanted { restart: Restart::IfChanged, ..wanted() };
        let steps = plan(&lazy, &cut).unwrap().steps;
        assert!(steps.contains(&Step::Start), "the release of before still runs: {steps:?}");
    }

    #[test]
    fn what_serves_already_is_left_alone_only_where_that_is_wanted() {
        let gentle = Wanted { restart: Restart::IfChanged, ..wanted() };
        assert_eq!(plan(&gentle, &found(SERVING)).unwrap().steps, [Step::Gate]);
        assert_eq!(plan(&wanted(), &found(SERVING)).unwrap().steps, TAIL);
        for change in
            ["verified=yes", "identity=same", "server_server=alive", "current=aaaaaaaaaaaa-bbbbbbbbbbbb"]
        {
            let lines = SERVING.replace(change, "");
            assert_eq!(plan(&gentle, &found(&lines)).unwrap().steps, TAIL, "without {change}");
        }
    }

    #[test]
    fn a_server_that_runs_is_brought_to_rest_after_everything_slow_and_before_anything_changes() {
        let resting = Wanted { rest: true, ..wanted() };
        let steps = plan(&resting, &found(&format!("{FRESH}server_server=alive\n"))).unwrap().steps;
        let at = |step: Step| steps.iter().position(|other| *other == step).unwrap();
        assert!(at(Step::Seal) < at(Step::Enter) && at(Step::Enter) < at(Step::Configure));
        assert!(at(Step::Confirm) < at(Step::Exit));
        assert!(!plan(&resting, &found(FRESH)).unwrap().steps.contains(&Step::Enter), "nothing runs there");
        // Somebody who died owes it the exit.
        let owed = found(&format!("{FRESH}maintenance=1700000000 deploy x\n"));
        assert!(plan(&wanted(), &owed).unwrap().steps.contains(&Step::Exit));
    }

    #[test]
    fn what_was_before_is_kept_and_the_data_follows_only_where_the_release_is_another() {
        let migrating = Wanted { migrate: true, rest: true, ..wanted() };
        let steps = |lines: &str| plan(&migrating, &found(lines)).unwrap().steps;
        let other = steps(
            "release=sealed\ncurrent=cccccccccccc-dddddddddddd\nincoming=absent\nserver_server=alive\n",
        );
        let order = [
            Step::Backup,
            Step::Enter,
            Step::Configure,
            Step::Migrate,
            Step::Switch,
            Step::Start,
            Step::Gate,
        ];
        assert_eq!(other.get(..7), Some(&order[..]));
        assert!(!steps(FRESH).contains(&Step::Backup), "there is nothing to keep");
        assert!(steps(FRESH).contains(&Step::Migrate), "and still a schema to make");
        assert!(!steps(SERVING).contains(&Step::Backup) && !steps(SERVING).contains(&Step::Migrate));
    }

    #[test]
    fn somebody_elses_server_is_taken_over_on_the_first_contact_only_and_only_where_that_is_wanted() {
        let lines = format!("{FRESH}foreign=77 nginx\n");
        let fault = plan(&wanted(), &found(&lines)).unwrap_err();
        assert!(
            matches!(&fault, DeployFault::Box(words) if words.contains("77 nginx") && words.contains("hint:"))
        );
        let taking = Wanted { adopt: true, rest: true, ..wanted() };
        let steps = plan(&taking, &found(&lines)).unwrap().steps;
        let order = [Step::Adopt, Step::Backup, Step::Enter, Step::Configure, Step::Switch];
        assert_eq!(steps.get(3..8), Some(&order[..]), "{steps:?}");
        assert!(plan(&taking, &found(&format!("{lines}current=cccccccccccc-dddddddddddd\n"))).is_err());
    }

    #[test]
    fn a_release_that_cannot_read_the_data_is_refused() {
        let knows = |version| {
            let wanted = Wanted { schema: Some(version), ..wanted() };
            plan(&wanted, &found(&format!("{FRESH}floor=4\n")))
        };
        assert!(knows(4).is_ok());
        assert!(matches!(knows(3), Err(DeployFault::Release(words)) if words.contains("schema 4")));
    }

    #[test]
    fn a_deploy_cut_during_the_trial_is_taken_up_at_the_gate() {
        let on_trial = format!("{SERVING}trial={NAME}\nbegan=1700000000\n").replace("verified=yes\n", "");
        let steps = plan(&wanted(), &found(&on_trial)).unwrap().steps;
        assert_eq!(steps, [Step::Gate, Step::Confirm, Step::Prune]);
        // Switched, and cut before the start: the old process may be the one that is alive.
        let not_started = on_trial.replace("began=1700000000\n", "");
        assert_eq!(plan(&wanted(), &found(&not_started)).unwrap().steps, TAIL);
        let other = on_trial.replace("trial=aaaa", "trial=cccc");
        assert_eq!(plan(&wanted(), &found(&other)).unwrap().steps, TAIL);
    }

    #[test]
    fn a_release_the_box_went_back_from_is_shunned_unless_forced() {
        let refused = |bad: &str| plan(&wanted(), &found(&format!("{FRESH}bad={bad}\n"))).is_err();
        assert!(refused("1 release it refused its settings"));
        assert!(!refused("1 unconfirmed nobody confirmed it in time"), "once may be a keeper that died");
        assert!(refused("2 unconfirmed nobody confirmed it in time"));
        assert!(refused("gibberish"), "a mark that cannot be read is a mark");
        let forced = Wanted { force: true, ..wanted() };
        assert!(plan(&forced, &found(&format!("{FRESH}bad=1 release x\n"))).is_ok());
    }

    #[test]
    fn a_box_that_cannot_take_it_is_refused_before_anything_is_sent() {
        let refused = |lines: &str, size| {
            plan(&Wanted { size, ..wanted() }, &found(&format!("{lines}{FRESH}"))).unwrap_err()
        };
        assert!(matches!(refused("", 1 << 30), DeployFault::Box(detail) if detail.contains("MiB needed")));
        let read = |report: String| plan(&wanted(), &Assessment::read(&report).unwrap()).unwrap_err();
        let box_of = |arch: &str, inodes: &str, missing: &str| {
            format!("arch={arch}\nfree_kb=1000000\nfree_inodes={inodes}\nmissing={missing}\n{FRESH}")
        };
        let fault = read(box_of("aarch64", "0", ""));
        assert!(matches!(fault, DeployFault::Box(detail) if detail.contains("aarch64")));
        let fault = read(box_of("x86_64", "-", " flock"));
        assert!(matches!(fault, DeployFault::Release(detail) if detail.contains("`flock`")));
        let fault = read(box_of("x86_64", "3", ""));
        assert!(matches!(fault, DeployFault::Box(detail) if detail.contains("3 inodes")));
    }
}
