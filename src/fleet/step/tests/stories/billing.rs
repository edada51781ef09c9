//! The provider's bill against the ledger: leaks that show in dollars, prices that change under a box that serves.

use std::collections::BTreeMap;

use insta::assert_snapshot;

use super::{
    super::{
        super::super::{
            charge::{Charge, Charges, from_day},
            command::Command,
            event::{Event, Hint},
            name::{InstanceId, NodeName, OpId},
            provider::{ProviderFault, Rental},
            units::{Money, Timestamp},
        },
        story::row,
    },
    Story, node,
};

const DAY: u64 = 86_400_000;

fn dollars(dollars: f64) -> Money {
    Money::from_dollars(dollars).unwrap()
}

impl Story {
    /// The provider charged each of these so much, whoever it is of.
    fn charged(&mut self, rows: &[(InstanceId, Option<&str>, f64)]) {
        let row = |(id, label, amount): &(InstanceId, Option<&str>, f64)| {
            (*id, Charge { label: label.map(str::to_owned), rent: dollars(*amount), traffic: dollars(9.0) })
        };
        let rows: BTreeMap<InstanceId, Charge> = rows.iter().map(row).collect();
        self.tell(Event::ChargesRead(Ok(Charges { from: from_day(Timestamp(self.now)), rows })));
    }

    fn priced(&mut self, name: &NodeName, price: f64) {
        let (instance, op) = (self.instance(name), self.op(name));
        self.extra.retain(|row| row.id != instance);
        let label = Some(format!("vk:test:{name}:{op}"));
        self.extra.push(Rental { price: dollars(price), ..row(instance, label) });
    }
}

/// Two nodes that serve for 35 cents an hour each, on some day at noon.
fn serving() -> Story {
    let mut s = Story::serving(2);
    s.beats = true;
    // Until then an hour of each has passed.
    s.pass((DAY / 2 - s.now % DAY) / 1000);
    s.start_telling();
    s
}

#[test]
fn charges_are_asked_for_every_hour_from_the_start_of_yesterday() {
    let mut s = Story::serving(1);
    s.beats = true;
    let mut asked = Vec::new();
    for _ in 0..3 * 180 {
        s.pass(20);
        let froms = s.last.commands.iter().filter_map(|command| match command {
            Command::ReadCharges { from } => Some(from.0),
            _ => None,
        });
        asked.extend(froms.map(|from| (s.now / 1000, from)));
    }
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1].0 - pair[0].0 == 3600), "{asked:?}");
    assert!(asked.iter().all(|(at, from)| at * 1000 - from < 2 * DAY), "{asked:?}");
}

#[test]
fn what_the_ledger_explains_is_no_news() {
    let mut s = serving();
    let hours = (s.now - 1_080_000) as f64 / 3_600_000.0;
    let (one, other) = (s.instance(&node(0)), s.instance(&node(1)));
    s.charged(&[(one, None, 0.35 * hours), (other, Some("vk:test:duel-1:abcdefghijk"), 0.0)]);
    // Nine dollars of traffic beside it are another matter.
    assert!(s.last.notices.is_empty(), "{:?}", s.last.notices);
    // Nor are other people's rentals, or other fleets'.
    let foreign = InstanceId(7);
    s.charged(&[(foreign, None, 5.0)]);
    s.charged(&[(foreign, Some("somebody's"), 5.0)]);
    s.charged(&[(foreign, Some("vk:other:duel-0:abcdefghijk"), 5.0)]);
    assert_eq!(s.read(), "");
}

#[test]
fn a_charge_that_no_rental_explains_is_told_with_instance_and_dollars_once_until_it_doubles() {
    let mut s = serving();
    let unknown = OpId::from_bits(77);
    let label = format!("vk:test:duel-1:{unknown}");
    s.charged(&[(InstanceId(900), Some(&label), 0.4)]);
    s.charged(&[(InstanceId(900), Some(&label), 0.7)]);
    s.charged(&[(InstanceId(900), Some(&label), 0.8)]);
    assert_snapshot!(s.read());
}

#[test]
fn a_box_that_is_gone_and_still_charged_is_told() {
    let mut s = serving();
    let gone = s.lose(&node(0));
    s.destroyed(gone);
    s.fill(&node(0));
    s.pass(3600);
    s.start_telling();
    let ledger = s.fleet.bills[&gone].cost(from_day(Timestamp(s.now)), Timestamp(s.now));
    s.charged(&[(gone, None, ledger.dollars() * 1.05)]);
    assert_eq!(s.read(), "", "within the tolerance");
    s.charged(&[(gone, None, ledger.dollars() + 2.0)]);
    assert_snapshot!(s.read());
}

#[test]
fn charges_that_cannot_be_read_are_told_after_three_times_and_judge_nothing() {
    let mut s = serving();
    for _ in 0..5 {
        let fault = ProviderFault::Auth { detail: "billing_read is missing".into() };
        s.tell(Event::ChargesRead(Err(fault)));
        s.pass(600);
    }
    assert!(s.fleet.key_accepted, "the key is judged by the lists alone");
    assert_snapshot!(s.read());
}

#[test]
fn a_price_that_changed_under_the_cap_is_told_and_counted_anew() {
    let mut s = serving();
    let (from, began) = (Timestamp(s.now), s.now);
    let before = s.fleet.spent(Timestamp(0), from);
    s.priced(&node(0), 0.7);
    s.pass(3600);
    let spent = s.fleet.spent(Timestamp(0), Timestamp(s.now)).minus(before).dollars();
    let changed_after = 60.0;
    let hours = (s.now - began) as f64 / 3_600_000.0;
    let wanted = 0.35 * hours + 0.35 * changed_after / 3600.0 + 0.7 * (hours - changed_after / 3600.0);
    assert!((spent - wanted).abs() < 0.005, "{spent} {wanted}");
    // One list that errs changes nothing.
    s.priced(&node(0), 0.1);
    s.pass(20);
    s.priced(&node(0), 0.7);
    s.pass(200);
    assert_snapshot!(s.read());
}

#[test]
fn a_notification_only_prompts_a_look() {
    let mut s = serving();
    for kind in ["outbid", "instance_stopped", "low_credit", "a word of tomorrow"] {
        s.tell(Event::Hinted(Hint { kind: kind.into(), instance: Some(InstanceId(101)) }));
        assert!(s.last.entries.is_empty() && s.last.notices.is_empty());
        let reads =
            s.last.commands.iter().filter(|c| !matches!(c, Command::List | Command::ReadCredit)).count();
        assert_eq!((reads, s.last.commands.contains(&Command::List)), (0, true), "{:?}", s.last.commands);
    }
    assert_eq!(s.state(0).word(), "serving");
}
