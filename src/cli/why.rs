//! `why NODE`: one node explained.

use super::{
    args::{Calm, Common},
    client::Client,
    exit::{self, Failure},
    print::{self, Colour, Printed, data, paint},
    setup,
    show::clock_time,
};
use crate::{
    config::Need,
    fleet::{
        tell::span,
        units::Timestamp,
        why::{Evidence, RailView, Why},
    },
};

pub(super) async fn why(common: &Common, options: Calm) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    let client = Client::connect(&config.control_socket).await?;
    let why = client.get::<Why>(&format!("/api/v1/nodes/{}/why", options.node)).await?;
    let why = why.ok_or_else(|| {
        Failure::new(exit::USAGE, format!("node `{}` is not known", options.node))
            .hint("`vast-keeper status` lists the nodes")
    })?;
    if options.json {
        print::json(&why)?;
    } else {
        tell(&why)?;
    }
    Ok(exit::DONE)
}

fn tell(why: &Why) -> Printed {
    let node = &why.node;
    let stage = node.stage.as_ref().map_or_else(String::new, |stage| format!(" ({stage})"));
    let since = node.since.map_or_else(String::new, |since| format!(" for {}", span(why.at.since(since))));
    data(&format!("{} is {}{stage}{since}", node.node, node.state))?;
    if why.observe_only {
        data(&paint("observing only: nothing is changed", Colour::Odd))?;
    }
    if let Some(instance) = node.instance {
        let offer = node.offer.as_ref().map_or_else(String::new, |offer| format!(" ({offer})"));
        data(&format!("instance {instance}{offer}"))?;
    }
    if let Some(held) = &node.held {
        data(&paint(&format!("held: {held}"), Colour::Bad))?;
    }
    evidence("speaks for a fault", &why.evidence_for)?;
    evidence("speaks against one", &why.evidence_against)?;
    if let Some(fault) = &why.fault {
        data(&format!("most likely at fault: {}, {}", fault.culprit, fault.evidence))?;
    }
    for rail in &why.rails {
        data(&rail_text(rail, why.at))?;
    }
    let at = why.next_at.map_or_else(String::new, |at| format!(" · {}", when(at, why.at)));
    data(&format!("next: {}{at}", why.next))?;
    if let Some(incident) = node.incident {
        data(&paint(&format!("the story so far: `vast-keeper incidents {incident}`"), Colour::Soft))?;
    }
    Ok(())
}

fn evidence(heading: &str, evidence: &[Evidence]) -> Printed {
    if evidence.is_empty() {
        return data(&format!("{heading}: nothing"));
    }
    data(&format!("{heading}:"))?;
    for piece in evidence {
        let at = piece.at.map_or_else(String::new, |at| format!(" ({})", clock_time(at)));
        data(&format!("  {}: {}{at}", piece.source, piece.text))?;
    }
    Ok(())
}

fn rail_text(rail: &RailView, now: Timestamp) -> String {
    let what = &rail.question;
    match &rail.rail {
        None => format!("a {what} may begin: {}", rail.why),
        Some(word) => {
            let until = rail.until.map_or_else(String::new, |until| format!(" · {}", when(until, now)));
            paint(&format!("a {what} is kept back by the rail `{word}`: {}{until}", rail.why), Colour::Odd)
        }
    }
}

fn when(at: Timestamp, now: Timestamp) -> String {
    let wait = now.until(at);
    if wait.is_zero() {
        format!("due since {}", clock_time(at))
    } else {
        format!("in {}, at {}", span(wait), clock_time(at))
    }
}
