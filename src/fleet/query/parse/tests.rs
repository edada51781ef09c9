use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Vec<String> {
    let query: Query = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    query.filters().iter().map(ToString::to_string).collect()
}

fn error(text: &str) -> String {
    text.parse::<Query>().expect_err(text).to_string()
}

#[test]
fn the_command_lines_examples_mean_what_they_mean_there() {
    let text = "gpu_name=RTX_4090 num_gpus>=1 reliability>0.98 geolocation in [US,CA] rented=False dph<=2.5";
    assert_eq!(
        parsed(text),
        [
            "gpu_name=RTX 4090",
            "num_gpus>=1",
            "reliability2>0.98",
            "geolocation in [US, CA]",
            "rented=false",
            "dph_total<=2.5"
        ]
    );
    assert_eq!(
        parsed("gpu_ram>=24 cpu_ram > 64 duration gte 3"),
        ["gpu_ram>=24000", "cpu_ram>64000", "duration>=259200"]
    );
    assert_eq!(parsed("driver_version >= 535.86.05"), ["driver_version>=535086005"]);
    assert_eq!(
        parsed(r#"gpu_name in ["RTX 4090", RTX_3090] machine_id not in [1,2]"#),
        ["gpu_name in [RTX 4090, RTX 3090]", "machine_id notin [1, 2]"]
    );
    assert_eq!(
        parsed(r#"gpu_name = "A100 SXM4" cuda_vers>=12.4 id=7 cluster_id=null"#),
        ["gpu_name=A100 SXM4", "cuda_max_good>=12.4", "ask_contract_id=7", "cluster_id=null"]
    );
    assert_eq!(parsed("inet_down>100 inet_down<1000"), ["inet_down>100", "inet_down<1000"]);
    assert_eq!(parsed("geolocation in US,CA geolocation notin [CA]").len(), 2);
    assert_eq!(parsed("  "), Vec::<String>::new());
}

#[test]
fn any_lifts_a_default_instead_of_filtering() {
    let query: Query = "verified=any external=*".parse().unwrap();
    assert!(query.filters().is_empty());
    assert!(query.lifts("verified") && query.lifts("external") && !query.lifts("rented"));
}

#[test]
fn a_mistake_is_shown_where_it_is_with_what_was_meant() {
    for (text, want) in [
        ("num_gpus=1 relibility>0.9", "column 12: unknown field `relibility`; did you mean `reliability`?"),
        ("GPU_name=L4", "column 1: unknown field `GPU_name`; did you mean `gpu_name`?"),
        ("zzz=1", "column 1: unknown field `zzz`"),
        ("dph", "column 4: expected `=`, `!=`, `<`, `<=`, `>`, `>=`, `in` or `notin` after `dph_total`"),
        ("dph<=", "column 6: expected a value for `dph_total`"),
        ("dph<=cheap", "column 6: `dph_total` wants a number, not `cheap`"),
        ("dph<=NaN", "column 6: `dph_total` wants a number, not `NaN`"),
        ("rented=maybe", "column 8: `rented` wants `true` or `false`, not `maybe`"),
        ("gpu_name>A10", "column 9: `gpu_name` cannot be compared by `gt`; use `=`, `!=`, `in` or `notin`"),
        ("geolocation in [US", "column 16: `[` is never closed"),
        ("geolocation in []", "column 16: expected a value for `geolocation`"),
        ("gpu_name=\"RTX", "column 10: `\"` is never closed"),
        ("geolocation=[US,CA]", "column 13: `geolocation` takes one value here; for several use `in`"),
        ("dph<=1 dph<=2", "column 8: `dph_total` is filtered twice by `lte`"),
        ("verified!=any", "column 9: `any` makes sense only with `=`"),
        ("num_gpus=1 && dph<1", "column 12: expected a field name before `&& dph<1`"),
        ("mobo_name=\"é\" dhp<1", "column 15: unknown field `dhp`; did you mean `dph`?"),
    ] {
        assert_eq!(error(text), want, "{text}");
    }
}

#[test]
fn the_default_is_what_its_text_says() {
    let default = Query::default();
    assert_eq!(default.to_string().parse::<Query>().unwrap(), default);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = text.parse::<Query>();
    }

    #[test]
    fn no_near_miss_makes_it_panic(text in r#"(gpu_name|dph|rented|geolocation)( |=|<=| in | not in )(\[|"|'|US|1|,|\]|é| ){0,6}"#) {
        let _ = text.parse::<Query>();
    }
}
