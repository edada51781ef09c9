//! Checking an offer against a query once more, on our side.

use super::{Filter, Op, Query, Value};
use crate::fleet::offer::Offer;

/// What an offer says of a field; `None` inside means that it does not say.
enum Said<'a> {
    Number(Option<f64>),
    Flag(Option<bool>),
    Text(Option<&'a str>),
    /// Offers do not carry the field: the provider's own filter must do.
    NotCarried,
}

impl Query {
    /// The first filter an offer does not meet. A field the offer should say but does not say is a miss; a field that
    /// [`Offer`] does not carry is left to the provider.
    #[must_use]
    pub fn miss(&self, offer: &Offer) -> Option<&Filter> {
        self.filters.iter().find(|filter| !meets(filter, offer))
    }
}

fn said<'a>(field: &str, offer: &'a Offer) -> Said<'a> {
    match field {
        "ask_contract_id" => Said::Number(Some(offer.id.0 as f64)),
        "machine_id" => Said::Number(Some(offer.machine.0 as f64)),
        "host_id" => Said::Number(Some(offer.host.0 as f64)),
        "gpu_name" => Said::Text(Some(&offer.gpu)),
        "num_gpus" => Said::Number(Some(f64::from(offer.gpus))),
        "gpu_ram" => Said::Number(offer.gpu_ram_mb),
        "cpu_ram" => Said::Number(offer.cpu_ram_mb),
        "cpu_cores_effective" => Said::Number(offer.cpu_cores),
        "disk_space" => Said::Number(offer.disk_gb),
        "dph_total" => Said::Number(Some(offer.price.dollars())),
        "reliability2" => Said::Number(offer.reliability),
        "inet_down" => Said::Number(offer.inet_down_mbps),
        "inet_up" => Said::Number(offer.inet_up_mbps),
        "direct_port_count" => Said::Number(offer.direct_ports.map(f64::from)),
        "duration" => Said::Number(offer.duration_s),
        "cuda_max_good" => Said::Number(offer.cuda),
        "gpu_display_active" => Said::Flag(offer.display_active),
        "verified" => Said::Flag(offer.verified),
        "static_ip" => Said::Flag(offer.static_ip),
        // The provider filters on the country code at the end of `City or state, CC`.
        "geolocation" => {
            Said::Text(offer.geolocation.as_deref().and_then(|place| place.rsplit(',').next()).map(str::trim))
        }
        _ => Said::NotCarried,
    }
}

fn meets(filter: &Filter, offer: &Offer) -> bool {
    let said = said(filter.field, offer);
    if matches!(said, Said::NotCarried) {
        return true;
    }
    let one_of = |value: &Value| match value {
        Value::List(values) => values.iter().any(|value| equal(&said, value)),
        single => equal(&said, single),
    };
    // What is not said is neither equal nor unequal to anything, except that it equals `null`.
    let is_said = !matches!(said, Said::Number(None) | Said::Flag(None) | Said::Text(None));
    match filter.op {
        Op::Eq | Op::In => one_of(&filter.value),
        Op::Neq | Op::NotIn => is_said && !one_of(&filter.value),
        Op::Gt => ordered(&said, &filter.value, |a, b| a > b),
        Op::Gte => ordered(&said, &filter.value, |a, b| a >= b),
        Op::Lt => ordered(&said, &filter.value, |a, b| a < b),
        Op::Lte => ordered(&said, &filter.value, |a, b| a <= b),
    }
}

fn ordered(said: &Said<'_>, value: &Value, holds: impl Fn(f64, f64) -> bool) -> bool {
    match (said, value) {
        (Said::Number(Some(a)), Value::Number(b)) => holds(*a, *b),
        _ => false,
    }
}

fn equal(said: &Said<'_>, value: &Value) -> bool {
    /// Prices and versions travel as decimal fractions: equal up to this share.
    const SAME: f64 = 1e-6;
    match (said, value) {
        (Said::Number(Some(a)), Value::Number(b)) => (a - b).abs() <= SAME * b.abs().max(1.0),
        (Said::Flag(Some(a)), Value::Flag(b)) => a == b,
        (Said::Text(Some(a)), Value::Text(b)) => a.trim().eq_ignore_ascii_case(b.trim()),
        (Said::Number(None) | Said::Flag(None) | Said::Text(None), Value::Null) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::fleet::{offer::tests::offer, query::Query};

    #[test]
    fn the_provider_is_not_taken_at_its_word() {
        let texan = offer(1);
        for (query, met) in [
            ("gpu_name=RTX_4090 num_gpus=1 gpu_ram>=24 dph<=2.5 reliability>=0.98", true),
            ("geolocation=US", true),
            ("geolocation in [CA,us]", true),
            ("geolocation=Texas", false),
            ("geolocation!=US", false),
            ("gpu_name=RTX_409", false),
            ("gpu_name in [RTX_3090,rtx_4090]", true),
            ("dph<0.34", false),
            ("dph=0.35", true),
            ("gpu_display_active=true verified=true", true),
            ("gpu_display_active=false", false),
            ("machine_id notin [10]", false),
            ("id=1 machine_id!=11", true),
            ("gpu_mem_bw>5000", true),
        ] {
            let query: Query = query.parse().unwrap();
            assert_eq!(query.miss(&texan).is_none(), met, "{query}");
        }
    }

    #[test]
    fn what_an_offer_does_not_say_it_does_not_meet() {
        let mut silent = offer(1);
        silent.geolocation = None;
        silent.display_active = None;
        silent.cuda = None;
        for (query, met) in [
            ("geolocation=US", false),
            ("geolocation!=CN", false),
            ("geolocation notin [CN]", false),
            ("gpu_display_active!=false", false),
            ("cuda_vers>=12", false),
            ("cuda_vers<=13", false),
            ("geolocation=null", true),
        ] {
            let query: Query = query.parse().unwrap();
            assert_eq!(query.miss(&silent).is_none(), met, "{query}");
        }
    }
}
