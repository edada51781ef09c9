//! Players and bets: join, look at the account, bet, read the ledger and the history.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::body::JsonBody;
use super::message::StateMessage;
use super::problem::Problem;
use crate::arena::{BetKey, BetRequest, Cents, DuelId, MAX_NAME_CHARS, PlayerId, Refusal, Side};
use crate::director::CommandError;
use crate::metrics::OutcomeLabel;
use crate::tokens::LIFETIME_SECONDS;

/// Lines of a page, unless asked for fewer.
const DEFAULT_PAGE: i64 = 20;

/// Most lines of a page.
const MAX_PAGE: i64 = 100;

/// The player a bearer token speaks for.
pub struct Bearer(PlayerId);

impl FromRequestParts<App> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let unauthorized =
            |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail.to_owned());
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let token = token.ok_or_else(|| unauthorized("send `Authorization: Bearer <token>`"))?;
        app.tokens.verify(token, app.clock.now()).map(Self).map_err(|fault| unauthorized(&fault.to_string()))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinBody {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BetBody {
    duel_id: DuelId,
    side: Side,
    amount_cents: Cents,
}

#[derive(Debug, Deserialize)]
pub struct Page {
    before: Option<i64>,
    limit: Option<i64>,
}

impl Page {
    fn checked(query: Result<Query<Self>, QueryRejection>) -> Result<(i64, i64), Problem> {
        let Query(page) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
        let (before, limit) = (page.before.unwrap_or(i64::MAX), page.limit.unwrap_or(DEFAULT_PAGE));
        if before < 1 || !(1..=MAX_PAGE).contains(&limit) {
            let detail = format!("before is at least 1, limit is 1 to {MAX_PAGE}");
            return Err(Problem::malformed(detail));
        }
        Ok((before, limit))
    }
}

/// `POST /api/v1/players`.
pub async fn join(State(app): State<App>, JsonBody(body): JsonBody<JoinBody>) -> Result<Response, Problem> {
    let name = body.name.trim();
    let chars = name.chars().count();
    if chars == 0 || chars > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        let detail = format!("name has 1 to {MAX_NAME_CHARS} characters, none of them a control character");
        return Err(Problem::malformed(detail));
    }
    let random = crate::randomness::bytes::<16>();
    let player = PlayerId::from_random(random.map_err(|_| Problem::unavailable("no randomness"))?);
    let joined = app.arena.join(player.clone(), name.to_owned()).await.map_err(problem)?;
    let body = json!({
        "playerId": player.as_str(),
        "name": joined.name,
        "balanceCents": joined.balance,
        "token": app.tokens.issue(&player, app.clock.now()),
        "tokenExpiresInSeconds": LIFETIME_SECONDS,
    });
    Ok((StatusCode::CREATED, [("cache-control", "no-store")], Json(body)).into_response())
}

/// `GET /api/v1/account`.
pub async fn account(State(app): State<App>, Bearer(player): Bearer) -> Result<Response, Problem> {
    let found = app.arena.account(player.clone()).await.map_err(problem)?;
    let body = json!({ "playerId": player.as_str(), "name": found.name, "balanceCents": found.balance });
    Ok(([("cache-control", "no-store")], Json(body)).into_response())
}

/// `GET /api/v1/account/ledger`.
pub async fn ledger(
    State(app): State<App>,
    Bearer(player): Bearer,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let (before, limit) = Page::checked(page)?;
    let lines = app.read(app.store.ledger(player, before, limit)).await?;
    Ok(Json(json!({ "entries": lines })).into_response())
}

/// `GET /api/v1/duels`.
pub async fn duels(
    State(app): State<App>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let (before, limit) = Page::checked(page)?;
    let lines = app.read(app.store.duels(before, limit)).await?;
    Ok(Json(json!({ "duels": lines })).into_response())
}

/// `GET /api/v1/leaderboard`.
pub async fn leaderboard(State(app): State<App>) -> Response {
    let view = app.arena.view();
    let message = serde_json::to_value(StateMessage::of(&view, app.clock.now())).unwrap_or_default();
    Json(json!({ "leaderboard": message["leaderboard"] })).into_response()
}

/// `GET /api/v1/market`: the market as it is now, without the public delay, because bets are judged by it.
pub async fn market(State(app): State<App>) -> Response {
    let view = app.arena.view();
    let message = serde_json::to_value(StateMessage::of(&view, app.clock.now())).unwrap_or_default();
    let cycle = &message["cycle"];
    Json(json!({
        "duelId": cycle["duelId"],
        "agent1": cycle["agent1"]["id"],
        "agent2": cycle["agent2"]["id"],
        "betCloseTime": cycle["betCloseTime"],
        "market": message["market"],
    }))
    .into_response()
}

/// `POST /api/v1/bets`.
pub async fn bet(
    State(app): State<App>,
    Bearer(player): Bearer,
    headers: HeaderMap,
    JsonBody(body): JsonBody<BetBody>,
) -> Result<Response, Problem> {
    let request = BetRequest {
        player,
        duel: body.duel_id,
        side: body.side,
        cents: body.amount_cents,
        key: idempotency_key(&headers)?,
    };
    match app.arena.bet(request).await {
        Ok(accepted) => {
            let status = if accepted.repeated { StatusCode::OK } else { StatusCode::CREATED };
            let body = json!({
                "betId": accepted.bet,
                "duelId": accepted.duel,
                "side": accepted.side,
                "amountCents": accepted.cents,
                "balanceCents": accepted.balance,
                "placedAt": accepted.at,
            });
            Ok((status, Json(body)).into_response())
        }
        Err(refusal) => {
            app.metrics.bets.get_or_create(&OutcomeLabel { outcome: "refused" }).inc();
            Err(problem(refusal))
        }
    }
}

/// The client's key, or a random one for a client that does not care.
fn idempotency_key(headers: &HeaderMap) -> Result<BetKey, Problem> {
    let key = match headers.get("idempotency-key") {
        Some(value) => value.to_str().ok().and_then(BetKey::parse),
        None => {
            let bytes =
                crate::randomness::bytes::<16>().map_err(|_| Problem::unavailable("no randomness"))?;
            BetKey::parse(PlayerId::from_random(bytes).as_str())
        }
    };
    key.ok_or_else(|| Problem::malformed("Idempotency-Key is 1 to 64 visible ASCII characters"))
}

/// A refusal of the arena as a problem document.
fn problem(error: CommandError) -> Problem {
    let detail = error.to_string();
    let conflict = |kind| Problem::new(StatusCode::CONFLICT, kind, detail.clone());
    match error {
        CommandError::Refused(refusal) => match refusal {
            Refusal::UnknownPlayer => Problem::new(StatusCode::UNAUTHORIZED, "unknown-player", detail),
            Refusal::StakeOutOfRange => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "stake-out-of-range", detail)
            }
            Refusal::InsufficientFunds { balance } => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "insufficient-funds", detail)
                    .with("balanceCents", balance)
            }
            Refusal::WrongDuel { current, .. } => conflict("wrong-duel").with("currentDuelId", current),
            Refusal::MarketNotOpen { status, .. } => {
                conflict("market-not-open").with("marketStatus", status.as_str())
            }
            Refusal::KeyReused => conflict("idempotency-key-reused"),
            Refusal::TooManyPlayers | Refusal::MarketFull => Problem::unavailable(detail),
            Refusal::MaintenanceActive { .. } | Refusal::MaintenanceInactive => conflict("maintenance"),
        },
        CommandError::StoreLost | CommandError::Busy | CommandError::Stopping => Problem::unavailable(detail),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::body;

    proptest! {
        #[test]
        fn no_body_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[{\"a-zA-Z:,0-9.eE+ \\-\\]}]{0,120}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                let _ = body::parse::<BetBody>(bytes);
                let _ = body::parse::<JoinBody>(bytes);
            }
        }

        #[test]
        fn a_bet_is_read_exactly_or_refused(amount in any::<i128>(), duel in any::<i64>(), side in "[a-cA-B]") {
            let text = format!(r#"{{"duelId":{duel},"side":"{side}","amountCents":{amount}}}"#);
            let exact = i64::try_from(amount).ok().zip(Side::parse(&side));
            let read = body::parse::<BetBody>(text.as_bytes()).ok();
            prop_assert_eq!(read.map(|bet| ((bet.amount_cents, bet.side), bet.duel_id)), exact.map(|it| (it, duel)));
        }
    }
}
