mod fuzz;

use proptest::prelude::*;

use super::*;

#[test]
fn a_label_says_whose_it_is() {
    let fleet: FleetName = "prod".parse().unwrap();
    let node: NodeName = "duel-0".parse().unwrap();
    let op = OpId::from_bits(7);
    let label = Label { fleet: fleet.clone(), node: node.clone(), op: op.clone() }.to_string();
    assert_eq!(ownership(Some(&label), &fleet), Ownership::Ours(node, op));
    for foreign in [None, Some(""), Some("vk:prod2:a:b"), Some("somebody's"), Some("vk")] {
        assert_eq!(ownership(foreign, &fleet), Ownership::Foreign, "{foreign:?}");
    }
    for malformed in ["vk:prod", "vk:prod:", "vk:prod:a", "vk:prod:a:b:c", "vk:prod:A:b", "vk:prod::b"] {
        assert_eq!(ownership(Some(malformed), &fleet), Ownership::Malformed, "{malformed:?}");
    }
}

proptest! {
    #[test]
    fn every_label_reads_back_and_fits(fleet in "[a-z0-9]{1,16}", node in "[a-z0-9]{1,28}", bits: u64) {
        let fleet: FleetName = fleet.parse().unwrap();
        let label = Label { fleet: fleet.clone(), node: node.parse().unwrap(), op: OpId::from_bits(bits) };
        let text = label.to_string();
        prop_assert!(text.len() <= 60);
        prop_assert_eq!(ownership(Some(&text), &fleet), Ownership::Ours(label.node, label.op));
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let fleet: FleetName = "prod".parse().unwrap();
        let _ = ownership(Some(&text), &fleet);
        let _ = text.parse::<NodeName>();
    }
}
