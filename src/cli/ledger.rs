//! `ledger`: machines and hosts that failed us, shown, carried to another keeper, and forgiven. Works on the running daemon, or
//! on the state itself where none runs.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use super::{
    alone,
    args::{Common, LedgerAction},
    client::Client,
    exit::{self, Failure},
    known::known,
    print::{self, Colour, Printed, data, paint, talk},
    setup,
    show::{clock_time, table},
    verbs::{answered, person},
};
use crate::{
    clock::Clock,
    config::{Config, Need},
    fleet::{
        event::{Event, Reply},
        ledger::{self, Export, LedgerRequest, LedgerView, LedgerWish},
        name::MachineId,
        tell::span,
    },
};

/// Bytes read of a ledger; the same that the daemon takes.
const LEDGER_BYTES: u64 = 32 << 20;

pub(super) async fn ledger(common: &Common, json: bool, action: Option<LedgerAction>) -> Result<u8, Failure> {
    let (config, _) = setup::load(common, Need::Talk)?;
    match action {
        None => {
            let (view, _) = read(&config).await?;
            if json {
                print::json(&view)?;
            } else {
                show(&view)?;
            }
            Ok(exit::DONE)
        }
        Some(LedgerAction::Export { file }) => {
            let (_, export) = read(&config).await?;
            write(&file, &export)?;
            Ok(exit::DONE)
        }
        Some(LedgerAction::Import { file }) => {
            let ledger = load(&file)?;
            answered(ask(&config, LedgerWish::Import { ledger }).await?, json)
        }
        Some(LedgerAction::Forgive { machine }) => {
            let wish = LedgerWish::Forgive { machine: MachineId(machine) };
            answered(ask(&config, wish).await?, json)
        }
    }
}

async fn read(config: &Config) -> Result<(LedgerView, Export), Failure> {
    let Some(client) = Client::find(&config.control_socket).await? else {
        let (fleet, now) = (known(config).await?, Clock::new().now());
        return Ok((ledger::view(&fleet, &config.policy, now), ledger::export(&fleet, now)));
    };
    let none = || Failure::new(exit::UNREACHABLE, "the keeper shows no ledger");
    let view = client.get("/api/v1/ledger").await?.ok_or_else(none)?;
    let export = client.get("/api/v1/ledger/export").await?.ok_or_else(none)?;
    Ok((view, export))
}

async fn ask(config: &Config, wish: LedgerWish) -> Result<Reply, Failure> {
    let request = LedgerRequest { wish, by: person() };
    match Client::find(&config.control_socket).await? {
        Some(client) => {
            let reply = client.post("/api/v1/ledger", &request).await?;
            reply.ok_or_else(|| Failure::new(exit::BUG, "the keeper does not know the request"))
        }
        None => alone::decide(config, Event::LedgerAsked { wish: request.wish, by: request.by }).await,
    }
}

fn load(file: &Path) -> Result<Export, Failure> {
    let shown = file.display();
    let unreadable =
        |why: String| Failure::new(exit::USAGE, format!("cannot read the ledger `{shown}`: {why}"));
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(LEDGER_BYTES).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(LEDGER_BYTES).read_to_string(&mut text))
    };
    read.map_err(|fault| unreadable(fault.to_string()))?;
    serde_json::from_str(&text).map_err(|fault| {
        unreadable(fault.to_string()).hint("`vast-keeper ledger export FILE` writes one that can be read")
    })
}

fn write(file: &PathBuf, export: &Export) -> Printed {
    if file == Path::new("-") {
        return print::json(export);
    }
    let failed = |why: String| Failure::new(exit::USAGE, format!("cannot write `{}`: {why}", file.display()));
    let text = serde_json::to_string_pretty(export).map_err(|fault| failed(fault.to_string()))?;
    let written = std::fs::File::create(file).and_then(|mut out| {
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        out.sync_all()
    });
    written.map_err(|fault| failed(fault.to_string()))?;
    talk(&format!("{} machines written to `{}`", export.machines.len(), file.display()));
    Ok(())
}

fn show(view: &LedgerView) -> Printed {
    if view.machines.is_empty() {
        talk("no machine is in the ledger");
        return Ok(());
    }
    let rows: Vec<[String; 5]> = view
        .machines
        .iter()
        .map(|machine| {
            let until = if machine.excluded {
                format!("{}, for {}", clock_time(machine.until), span(view.at.until(machine.until)))
            } else {
                "free again".to_owned()
            };
            [
                machine.machine.to_string(),
                machine.host.to_string(),
                machine.count.to_string(),
                until,
                machine.detail.chars().take(100).collect::<String>().replace('\n', " "),
            ]
        })
        .collect();
    table(&["machine", "host", "failures", "not rented until", "the last failure"], &rows)?;
    for host in &view.hosts {
        let machines: Vec<String> = host.machines.iter().map(ToString::to_string).collect();
        let until = host.until.map_or_else(
            || "is free again".to_owned(),
            |until| format!("is not rented from until {}", clock_time(until)),
        );
        let text = format!(
            "host {} {until}: {} failures of machines {}",
            host.host,
            host.count,
            machines.join(", ")
        );
        data(&paint(&text, Colour::Odd))?;
    }
    Ok(())
}
