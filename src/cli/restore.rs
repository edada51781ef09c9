//! `backups`, `restore`: what deploys kept on a node's box, and the way back to it.

use std::time::Duration;

use serde_json::json;

use super::{
    args::{Common, RestoreArgs, Working},
    boxes::{Fleet, failure},
    consent,
    exit::{self, Failure},
    print,
    release::{maintenance, told, unrest},
    show,
    work::{Unfinished, Work},
};
use crate::{
    deploy::{self, DeployFault, RestoreRequest},
    fleet::name::NodeName,
};

/// How long a box may take to tell what it keeps.
const LOOK_LIMIT: Duration = Duration::from_secs(45);

pub(super) async fn backups(common: &Common, node: &NodeName, json: bool) -> Result<u8, Failure> {
    let (fleet, at) = Fleet::one(common, node).await?;
    let found = deploy::backups(&fleet.edges.remote, &fleet.nodes[at].address, LOOK_LIMIT).await;
    let found = found.map_err(|fault| failure(node, &fault))?;
    if json {
        print::json(&json!({ "node": node, "backups": found }))?;
        return Ok(exit::DONE);
    }
    let rows: Vec<[String; 4]> = found
        .into_iter()
        .map(|kept| {
            let dump = kept.dump_bytes.map_or_else(|| "no dump".into(), |bytes| format!("{bytes} bytes"));
            let stands = if kept.stands { kept.release } else { format!("{} (gone)", kept.release) };
            [kept.name, stands, dump, kept.schema.to_string()]
        })
        .collect();
    show::table(&["backup", "release", "dump", "schema"], &rows)?;
    Ok(if rows.is_empty() { exit::NOTHING } else { exit::DONE })
}

pub(super) async fn restore(common: &Common, args: RestoreArgs) -> Result<u8, Failure> {
    let (fleet, at) = Fleet::one(common, &args.node).await?;
    let filled = &fleet.nodes[at];
    let Working { consent, on_timeout, wait_lock, json } = &args.working;
    let Some(site) = fleet.site(filled, *wait_lock) else { return Ok(exit::NOTHING) };
    let which = args.backup.as_deref().unwrap_or("the youngest backup with a dump");
    let act = format!("replace the data on {} by {which} (`vast-keeper backups {0}` lists them)", args.node);
    consent::given(&fleet.config, consent, &act)?;
    let request = RestoreRequest {
        site,
        backup: args.backup.clone(),
        with: fleet.edges.access.method.backup.clone(),
        env: fleet.edges.access.server_env.clone(),
        maintenance: maintenance(&fleet, on_timeout.map(unrest)),
    };
    let work = Work { fleet: &fleet, filled, rollout: None, quiet: *json, leaves: None };
    let restored = work.restore(&request).await.map_err(|end| match end {
        // Said before anything was changed; no release is blamed for a backup that is not there.
        Unfinished::Fault(DeployFault::Release(why)) => {
            Failure::new(exit::REFUSED, format!("{}: {why}", args.node))
                .hint(format!("`vast-keeper backups {}` lists what is there", args.node))
        }
        end => end.failure(&filled.node),
    })?;
    told(&filled.node, &restored, *json)?;
    Ok(exit::DONE)
}
