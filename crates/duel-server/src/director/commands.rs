//! Commands on their way through a batch: decided against the state, answered once the batch is durable.

use super::handle::{AcceptedBet, Command, CommandError, Reply};
use crate::arena::{BetRequest, Cents, Record, Refusal, State};
use crate::clock::Millis;

/// Answers one command once its batch is durable (`true`) or lost (`false`).
pub type Answer = Box<dyn FnOnce(bool) + Send>;

/// Decides one command: applies and collects its records, and gives back how to answer it.
pub fn decide(
    state: &mut State,
    records: &mut Vec<Record>,
    command: Command,
    grant: Cents,
    now: Millis,
) -> Answer {
    let mut happen = |state: &mut State, record: Record| {
        state.apply(&record);
        records.push(record);
    };
    match command {
        Command::Join { player, name, reply } => {
            let joined = state.join(player.clone(), name, grant, now).map(|record| happen(state, record));
            let found =
                joined.and_then(|()| state.players.get(&player).cloned().ok_or(Refusal::UnknownPlayer));
            answer(reply, found)
        }
        Command::Account { player, reply } => {
            answer(reply, state.players.get(&player).cloned().ok_or(Refusal::UnknownPlayer))
        }
        Command::Bet { request, reply } => answer(reply, bet(state, &mut happen, &request, now)),
        Command::EnterMaintenance { reason, timeout, reply } => {
            let entered = state.enter_maintenance(reason, timeout, now);
            let entered = entered.map(|all| {
                all.into_iter().for_each(|record| happen(state, record));
                // A quiet arena is safe at once: say so in the same commit.
                if state.is_quiet() {
                    happen(state, Record::MaintenanceSafe { at: now });
                }
                now
            });
            answer(reply, entered)
        }
        Command::ExitMaintenance { reply } => {
            let since = state.maintenance.as_ref().map_or(now, |active| active.entered_at);
            let exited = state.exit_maintenance(now).map(|all| {
                all.into_iter().for_each(|record| happen(state, record));
                now - since
            });
            answer(reply, exited)
        }
    }
}

fn bet(
    state: &mut State,
    happen: &mut impl FnMut(&mut State, Record),
    request: &BetRequest,
    now: Millis,
) -> Result<AcceptedBet, Refusal> {
    let repeated = state.repeated_bet(request)?.map(|bet| (bet.bet, bet.at));
    let (bet, at) = match repeated {
        Some(earlier) => earlier,
        None => {
            let record = state.bet(request, now)?;
            let number = state.next_bet;
            happen(state, record);
            (number, now)
        }
    };
    Ok(AcceptedBet {
        bet,
        duel: request.duel,
        side: request.side,
        cents: request.cents,
        balance: state.players.get(&request.player).map_or(0, |player| player.balance),
        at,
        repeated: repeated.is_some(),
    })
}

fn answer<T: Send + 'static>(reply: Reply<T>, outcome: Result<T, Refusal>) -> Answer {
    Box::new(move |durable| {
        let outcome =
            if durable { outcome.map_err(CommandError::from) } else { Err(CommandError::StoreLost) };
        // The asker may have gone; what was decided stands all the same.
        drop(reply.send(outcome));
    })
}
