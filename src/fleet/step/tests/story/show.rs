//! A story as text: each event that had a consequence, with the records, commands and notices that followed.

use std::fmt::Write;

use super::{
    super::super::super::{
        command::{Chosen, Command},
        event::{Event, Step},
        journal::Record,
        ledger::LedgerWish,
    },
    Story,
};

impl Story {
    pub(super) fn since(&self) -> u64 {
        // A story may move the clock behind its own beginning.
        self.now.saturating_sub(self.began) / 1000
    }

    pub(super) fn show(&mut self, title: &str, step: &Step) {
        if step.entries.is_empty() && step.notices.is_empty() && step.reply.is_none() {
            let quiet = |command: &Command| {
                matches!(
                    command,
                    Command::List
                        | Command::ReadCredit
                        | Command::ReadCharges { .. }
                        | Command::CheckSelf
                        | Command::AskWitness { .. }
                )
            };
            if step.commands.iter().all(quiet) {
                return;
            }
        }
        let mut text = format!("{:>5} s  {title}\n", self.since());
        for entry in &step.entries {
            let mut value = serde_json::to_value(&entry.record).unwrap();
            let fields = value.as_object_mut().unwrap();
            let kind = fields.remove("kind").unwrap();
            let _ = write!(text, "    journal  {}", kind.as_str().unwrap());
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                match value {
                    serde_json::Value::String(value) => drop(write!(text, " {name}={value:?}")),
                    value => drop(write!(text, " {name}={value}")),
                }
            }
            text.push('\n');
        }
        for command in &step.commands {
            let _ = writeln!(text, "    do       {}", ordered(command));
        }
        for notice in &step.notices {
            let topic = serde_json::to_value(notice.topic).unwrap();
            let _ = writeln!(
                text,
                "    tell     {:?} {}: {}",
                notice.severity,
                topic.as_str().unwrap(),
                notice.title
            );
        }
        if let Some(reply) = &step.reply {
            let _ = writeln!(text, "    reply    {reply:?}");
        }
        self.text += &text;
        for entry in &step.entries {
            if let Record::Intent { op, .. } = &entry.record {
                self.ops.push(op.to_string());
            }
        }
    }

    /// The text, with op ids and times of day made readable.
    pub fn read(&self) -> String {
        let mut text = self.text.clone();
        for (nr, op) in self.ops.iter().enumerate() {
            text = text.replace(op.as_str(), &format!("op-{}", nr + 1));
        }
        for (at, name) in [
            ("retry_at=", "retry_in_s="),
            ("deadline=", "deadline_in_s="),
            ("until=", "until_in_s="),
            ("first_failure_at=", "first_failure_s="),
        ] {
            while let Some(found) = text.find(at) {
                let digits: String =
                    text[found + at.len()..].chars().take_while(char::is_ascii_digit).collect();
                let seconds = (digits.parse::<i64>().unwrap() - i64::try_from(self.began).unwrap()) / 1000;
                text.replace_range(found..found + at.len() + digits.len(), &format!("{name}{seconds}"));
            }
        }
        text
    }
}

pub(super) fn title(event: &Event) -> String {
    match event {
        Event::Booted { .. } => "the keeper starts".into(),
        Event::Stalled { gap } => format!("the keeper stood still for {} s", gap.as_secs()),
        Event::Beat => "the loop turns".into(),
        Event::PolicyChanged => "the configuration changed".into(),
        Event::Look { node } => format!("look at {node}"),
        Event::Probed { node, observation } => format!("probe of {node}: {}", observation.verdict),
        Event::Listed(Ok(list)) => {
            let ids: Vec<String> = list.rentals.iter().map(|rental| rental.id.to_string()).collect();
            format!("list: [{}]", ids.join(" "))
        }
        Event::Listed(Err(fault)) => format!("list: {fault}"),
        Event::Searched { node, answer } => match answer {
            Ok(found) => format!("search for {node}: {} offers", found.offers.len()),
            Err(fault) => format!("search for {node}: {fault}"),
        },
        Event::CreateAnswered { node, answer, .. } => format!("create for {node}: {answer:?}"),
        Event::DestroyAnswered { instance, answer } => format!("destroy of {instance}: {answer:?}"),
        Event::StartAnswered { instance, answer, .. } => format!("start of {instance}: {answer:?}"),
        Event::DeployEnded { node, result, .. } => match result {
            Ok(_) => format!("deploy on {node}: done"),
            Err(fault) => format!("deploy on {node}: {fault:?}"),
        },
        Event::RemedyWorked { node, rung, result, .. } => match result {
            Ok(_) => format!("{} on {node}: done", rung.word()),
            Err(fault) => format!("{} on {node}: {fault:?}", rung.word()),
        },
        Event::LeftBehind { node, seen, .. } => format!("maintenance of {node}: {seen:?}"),
        Event::Witnessed { node, word, .. } => format!("witness of {node}: {word:?}"),
        Event::Published { result, .. } => format!("published: {result:?}"),
        Event::SwitchAsked(request) => {
            format!("{} asks: switch {} to {}", request.by, request.node, request.release.name)
        }
        Event::ReleaseNamed(name) => format!("the configured release is {name}"),
        Event::DeployReported(report) => {
            format!("{} of {} by {}: {}", report.work.word(), report.node, report.by, report.outcome.word())
        }
        Event::ReleasePrepared(Ok(release)) => format!("the release {} is prepared", release.digest),
        Event::ReleasePrepared(Err(why)) => format!("the release cannot be prepared: {why}"),
        Event::EvidenceTaken { node, instance, .. } => format!("evidence of {node}, instance {instance}"),
        Event::SelfChecked(check) => format!("canaries: {} of {}", check.answered, check.asked),
        Event::CreditRead(Ok(credit)) => format!("credit: {}", credit.dollars),
        Event::CreditRead(Err(fault)) => format!("credit: {fault}"),
        Event::ChargesRead(Ok(charges)) => format!("charges of {} instances", charges.rows.len()),
        Event::ChargesRead(Err(fault)) => format!("charges: {fault}"),
        Event::Hinted(hint) => format!("the provider notifies: {}", hint.kind),
        Event::LedgerAsked { wish, by } => match wish {
            LedgerWish::Import { ledger } => format!("{by} imports {} machines", ledger.machines.len()),
            LedgerWish::Forgive { machine } => format!("{by} forgives machine {machine}"),
        },
        Event::Asked { node, wish, by } => format!("{by} asks: {} {node}", wish.word()),
    }
}

fn again(release: &Chosen) -> String {
    match release {
        Chosen::Configured(_) => String::new(),
        Chosen::Verified(release) => format!(", release {}", release.name),
    }
}

fn ordered(command: &Command) -> String {
    let word = command.word();
    match command {
        Command::Search { node } | Command::StopWork { node } => format!("{word} {node}"),
        Command::Create { node, offer, label } => format!("{word} {node}: offer {} as {label}", offer.id),
        Command::Destroy { instance } | Command::AttachKey { instance } => format!("{word} {instance}"),
        Command::Start { node, instance, bid: Some(bid) } => format!("{word} {node} on {instance}: {bid}"),
        Command::Start { node, instance, bid: None } => format!("{word} {node} on {instance}"),
        Command::Relabel { instance, label } => format!("{word} {instance} as {label}"),
        Command::TakeEvidence { node, instance, .. } => format!("{word} {node}, instance {instance}"),
        Command::Deploy { node, tenant, release, .. } => {
            format!("{word} {node} on {}{}", tenant.instance, again(release))
        }
        Command::AskWitness { node, tenant } | Command::EndMaintenance { node, tenant } => {
            format!("{word} {node} on {}", tenant.instance)
        }
        Command::Remedy { node, tenant, rung, release, .. } => {
            format!("{word} {node} on {}: {}{}", tenant.instance, rung.word(), again(release))
        }
        Command::Publish { addresses } => {
            let all: Vec<String> = addresses.iter().map(|(node, at)| format!("{node}={at}")).collect();
            format!("{word} {}", all.join(" "))
        }
        Command::List | Command::ReadCredit | Command::ReadCharges { .. } | Command::CheckSelf => {
            word.to_owned()
        }
    }
}
