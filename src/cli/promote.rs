//! `promote`: the release that serves in one profile goes to a later one, the same file by its digest, with the settings of the
//! profile it goes to.

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    args::{Common, DeployArgs, PromoteArgs, Working},
    boxes::Fleet,
    consent,
    exit::{self, Failure},
    known::known,
    print::{self, data, talk},
    release, setup,
    wanted::Release,
};
use crate::{
    config::{Config, Need},
    deploy::Artifact,
    engine::Shelf,
    fleet::{journal::ReleaseRef, state},
};

pub(super) async fn promote(common: &Common, args: PromoteArgs) -> Result<u8, Failure> {
    let of = |profile: &str| Common { profile: Some(profile.to_owned()), ..common.clone() };
    let (from, to) = (setup::load(&of(&args.from), Need::Talk)?.0, setup::load(&of(&args.to), Need::Run)?.0);
    in_order(&to, &args.from, &args.to)?;
    if from.state_dir == to.state_dir || from.policy.fleet == to.policy.fleet {
        let message =
            format!("`{}` and `{}` are one fleet: they share their name or state", args.from, args.to);
        return Err(Failure::new(exit::USAGE, message)
            .hint("each profile needs its own `fleet.name` and `keeper.state_dir`"));
    }
    let wanted = verified(&known(&from).await?, &args.from)?;
    let artifact = kept(&from, &wanted, &args.from).await?;
    let fleet = Fleet::find(&of(&args.to), &[]).await?;
    let env = fleet.edges.access.server_env.clone();
    let release = Release::of(&fleet, artifact.into(), env)?;
    release.unless_shunned(&fleet)?;
    let act = format!(
        "bring {} (commit {}), which serves in {}, to {} nodes of {}",
        release.placed.name,
        wanted.commit,
        args.from,
        fleet.nodes.len(),
        args.to
    );
    if args.dry_run {
        if args.json {
            let nodes: Vec<_> = fleet.nodes.iter().map(|filled| &filled.node).collect();
            print::json(
                &json!({ "dry_run": true, "from": args.from, "to": args.to, "release": release.placed, "nodes": nodes }),
            )?;
        } else {
            data(&format!("would {act}"))?;
        }
        return Ok(exit::DONE);
    }
    consent::given(&to, &args.consent, &act)?;
    talk(&act);
    let working = Working { json: args.json, ..Working::default() };
    let deploy = DeployArgs { fleet: true, working, ..DeployArgs::default() };
    release::put(&fleet, release, deploy).await
}

/// Only from an earlier profile to a later one.
fn in_order(config: &Config, from: &str, to: &str) -> Result<(), Failure> {
    let order = &config.environment.order;
    let place = |profile: &str| order.iter().position(|known| known == profile);
    let hint = format!("`promote.order` is {}", order.join(" → "));
    match (place(from), place(to)) {
        (Some(earlier), Some(later)) if earlier < later => Ok(()),
        (Some(_), Some(_)) => {
            Err(Failure::new(exit::REFUSED, format!("`{from}` does not come before `{to}`")).hint(hint))
        }
        (None, _) => {
            Err(Failure::new(exit::USAGE, format!("`{from}` is no profile that is promoted")).hint(hint))
        }
        (_, None) => {
            Err(Failure::new(exit::USAGE, format!("`{to}` is no profile that is promoted")).hint(hint))
        }
    }
}

/// The one release that serves everywhere in a fleet and was seen to.
fn verified(fleet: &state::Fleet, profile: &str) -> Result<ReleaseRef, Failure> {
    let refused =
        |why: String| Failure::new(exit::REFUSED, format!("nothing can be promoted from `{profile}`: {why}"));
    let serving = fleet.nodes.values().filter(|node| node.state.tenant().is_some());
    let mut found: BTreeSet<(&str, &str)> = BTreeSet::new();
    for node in serving {
        let release =
            node.release.as_ref().ok_or_else(|| refused("a node serves nobody knows what".into()))?;
        found.insert((&release.digest, &release.commit));
    }
    let mut found = found.into_iter();
    let (digest, commit) = match (found.next(), found.next()) {
        (None, _) => return Err(refused("nothing serves there".into())),
        (Some(_), Some(_)) => return Err(refused("its nodes serve different releases".into())),
        (Some(one), None) => one,
    };
    let standing = fleet.releases.get(digest);
    if let Some(condemned) = standing.and_then(|standing| standing.condemned.as_ref()) {
        return Err(refused(format!("its release is at fault: {}", condemned.evidence)));
    }
    if standing.is_none_or(|standing| standing.proven_at.is_none()) {
        return Err(refused("its release was never seen healthy".into()));
    }
    Ok(ReleaseRef { digest: digest.to_owned(), commit: commit.to_owned() })
}

/// The very file that was verified, whatever has been built since.
async fn kept(from: &Config, wanted: &ReleaseRef, profile: &str) -> Result<Artifact, Failure> {
    let lost = |why: String| {
        Failure::new(exit::REFUSED, format!("the release that serves in `{profile}` {why}"))
            .hint(format!("deploy it there once more: `vast-keeper --profile {profile} deploy --fleet`"))
    };
    let program = Shelf::new(&from.state_dir).program(&wanted.digest).await;
    let program = program.map_err(|fault| lost(format!("cannot be read: {fault}")))?;
    let program = program.ok_or_else(|| lost("is not kept in its state any more".into()))?;
    let artifact = Artifact::known(&program, wanted.commit.clone()).await;
    let artifact = artifact.map_err(|fault| lost(format!("cannot be used: {fault}")))?;
    if artifact.digest != wanted.digest {
        return Err(lost("was changed since it was kept".into()));
    }
    Ok(artifact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{
        name::InstanceId,
        release::{Condemned, Standing},
        state::{Attempt, Node, NodeState, Tenant},
        units::{Money, Timestamp},
    };

    fn serving(digest: &str) -> Node {
        let rental = Attempt {
            op: crate::fleet::name::OpId::from_bits(1),
            offer: Attempt::UNKNOWN_OFFER,
            machine: crate::fleet::name::MachineId(1),
            host: crate::fleet::name::HostId(1),
            price: Money(1),
            bid: None,
            text: String::new(),
        };
        let tenant = Tenant { rental, instance: InstanceId(1), address: "127.0.0.1:1".parse().unwrap() };
        let release = Some(ReleaseRef { digest: digest.into(), commit: "c".into() });
        Node { state: NodeState::Serving(tenant), release, ..Node::default() }
    }

    fn fleet(digests: &[&str]) -> state::Fleet {
        let mut fleet = state::Fleet::default();
        for (number, digest) in digests.iter().enumerate() {
            fleet.nodes.insert(format!("duel-{number}").parse().unwrap(), serving(digest));
            let standing = Standing { proven_at: Some(Timestamp(1)), ..Standing::default() };
            fleet.releases.insert((*digest).into(), standing);
        }
        fleet
    }

    #[test]
    fn only_the_one_release_that_serves_everywhere_and_was_seen_to_is_promoted() {
        assert_eq!(verified(&fleet(&["a", "a"]), "staging").unwrap().digest, "a");
        let refused = |fleet: &state::Fleet| verified(fleet, "staging").unwrap_err().message().to_owned();
        assert!(refused(&fleet(&["a", "b"])).contains("different releases"));
        assert!(refused(&fleet(&[])).contains("nothing serves"));
        let mut unproven = fleet(&["a"]);
        unproven.releases.get_mut("a").unwrap().proven_at = None;
        assert!(refused(&unproven).contains("never seen healthy"));
        let mut condemned = fleet(&["a"]);
        let sentence = Condemned { at: Timestamp(1), evidence: "two hosts".into() };
        condemned.releases.get_mut("a").unwrap().condemned = Some(sentence);
        assert!(refused(&condemned).contains("two hosts"));
    }
}
