// Shows the live state and places bets. Everything from the server is put in as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const money = (cents) => (cents / 100).toFixed(2);
const PHASES = { IDLE: "Waiting for the next duel", COUNTDOWN: "Place your bets", FIGHTING: "Fight", ANNOUNCEMENT: "The winner" };
const FIRST_PAUSE_MS = 500, LONGEST_PAUSE_MS = 15000;

let latest = null;
let receivedAt = 0;
let seenDuel = null;
let pause = FIRST_PAUSE_MS;
let account = JSON.parse(sessionStorage.getItem("account") || "null");

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/ws`);
  socket.onopen = () => { pause = FIRST_PAUSE_MS; link("live", "live"); };
  socket.onmessage = (event) => show(JSON.parse(event.data));
  socket.onclose = (event) => {
    link("lost", `reconnecting… ${event.reason}`);
    // A little randomness keeps a crowd of viewers from coming back in the same instant.
    setTimeout(connect, pause * (0.5 + Math.random()));
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  };
}

function link(kind, text) {
  $("link").className = `pill ${kind}`;
  $("link").textContent = text;
}

function show(state) {
  latest = state;
  receivedAt = performance.now();
  const { cycle, market } = state;
  $("phase").textContent = PHASES[cycle.phase] || cycle.phase;
  $("notice").hidden = !state.maintenance;
  $("notice").textContent = state.maintenance ? "Maintenance: no new duels start for the moment." : "";
  fighter("a", cycle.agent1, 0, market, cycle);
  fighter("b", cycle.agent2, 1, market, cycle);
  $("result").textContent = cycle.winnerName ? `${cycle.winnerName} wins` : "";
  const open = market.status === "OPEN" && account !== null;
  for (const button of $("bet").querySelectorAll("button")) button.disabled = !open;
  $("board").replaceChildren(...state.leaderboard.map(row));
  // Payouts change the balance when a duel's market resolves.
  const key = `${cycle.duelId}/${market.status}`;
  if (account && key !== seenDuel && market.status === "RESOLVED") refresh();
  seenDuel = key;
  tick();
}

function fighter(side, agent, index, market, cycle) {
  const box = $(`fighter-${side}`);
  const set = (name, text) => { box.querySelector(`[data-${name}]`).textContent = text; };
  set("name", agent ? agent.name : "–");
  set("hp", agent ? agent.hp : "–");
  set("odds", market.odds[index] === null ? "–" : market.odds[index].toFixed(2));
  set("pool", money(market.poolCents[index]));
  box.classList.toggle("winner", agent !== null && cycle.winnerId === agent.id);
  const bar = box.querySelector(".bar");
  bar.setAttribute("aria-valuenow", agent ? agent.hp : 0);
  bar.firstElementChild.style.width = `${agent ? agent.hp : 0}%`;
  document.querySelector(`[data-name-${side}]`).textContent = agent ? agent.name : side.toUpperCase();
}

function row(score) {
  const tr = document.createElement("tr");
  for (const text of [score.name, score.wins, score.losses]) {
    const td = document.createElement("td");
    td.textContent = text;
    tr.append(td);
  }
  return tr;
}

function tick() {
  if (!latest || latest.cycle.timeRemaining === null) {
    $("clock").textContent = "";
    return;
  }
  const left = Math.max(0, latest.cycle.timeRemaining - (performance.now() - receivedAt));
  $("clock").textContent = `${Math.ceil(left / 1000)} s`;
}

async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (options.body) headers["content-type"] = "application/json";
  if (account) headers.authorization = `Bearer ${account.token}`;
  const response = await fetch(path, { ...options, headers });
  const body = await response.json();
  if (!response.ok) {
    const error = new Error(body.detail || body.title || `error ${response.status}`);
    error.status = response.status;
    throw error;
  }
  return body;
}

async function refresh() {
  try {
    balance(await call("/api/v1/account"));
  } catch (error) {
    // A token of another server or of another key: join again.
    if (error.status === 401) leave();
  }
}

function balance(body) {
  $("balance").textContent = money(body.balanceCents);
}

function enter() {
  $("join").hidden = account !== null;
  $("bet").hidden = account === null;
  if (account) {
    $("player").textContent = account.name;
    refresh();
  }
}

function leave() {
  account = null;
  sessionStorage.removeItem("account");
  enter();
}

$("join").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = new FormData(event.target).get("name");
  try {
    account = await call("/api/v1/players", { method: "POST", body: JSON.stringify({ name }) });
    sessionStorage.setItem("account", JSON.stringify({ name: account.name, token: account.token }));
    $("said").textContent = "";
    enter();
    if (latest) show(latest);
  } catch (error) {
    $("said").textContent = error.message;
  }
});

$("bet").addEventListener("submit", async (event) => {
  event.preventDefault();
  const amountCents = Math.round(Number(event.target.elements.amount.value) * 100);
  const body = JSON.stringify({ duelId: latest.cycle.duelId, side: event.submitter.value, amountCents });
  // The key makes a repeated click after a lost answer the same bet.
  const headers = { "idempotency-key": `web-${Date.now()}-${Math.random().toString(36).slice(2)}` };
  try {
    const accepted = await call("/api/v1/bets", { method: "POST", body, headers });
    balance(accepted);
    $("said").textContent = `Bet ${accepted.betId} accepted: ${money(accepted.amountCents)}.`;
  } catch (error) {
    $("said").textContent = error.message;
  }
});

setInterval(tick, 250);
enter();
connect();
