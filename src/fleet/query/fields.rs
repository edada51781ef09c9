//! The fields a query may name: the list of Vast.ai's command line (1.9.1), with their kinds, units and short names.

/// What a field holds, so that a value of the wrong kind is refused before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Number,
    /// True or false.
    Flag,
    /// Text; underscores stand for spaces, as on the provider's command line.
    Text,
    /// A driver version such as `535.86.05`, sent as `535086005`.
    Version,
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field {
    /// The name in a search request.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// A query's number times this is the request's: a query counts memory in GB and time in days, a request in MB and
    /// seconds.
    pub factor: f64,
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, factor: 1.0 }
}

const fn scaled(name: &'static str, factor: f64) -> Field {
    Field { name, kind: Kind::Number, factor }
}

/// MB in a GB, as the provider's command line counts.
const GB: f64 = 1000.0;
/// Seconds in a day.
const DAY: f64 = 86_400.0;

/// Every field, sorted by name.
pub const FIELDS: [Field; 55] = [
    field("ask_contract_id", Kind::Number),
    field("bw_nvlink", Kind::Number),
    field("cluster_id", Kind::Number),
    field("compute_cap", Kind::Number),
    field("cpu_arch", Kind::Text),
    field("cpu_cores", Kind::Number),
    field("cpu_cores_effective", Kind::Number),
    field("cpu_ghz", Kind::Number),
    scaled("cpu_ram", GB),
    field("cuda_max_good", Kind::Number),
    field("datacenter", Kind::Flag),
    field("direct_port_count", Kind::Number),
    field("disk_bw", Kind::Number),
    field("disk_space", Kind::Number),
    field("dlperf", Kind::Number),
    field("dlperf_per_dphtotal", Kind::Number),
    field("dph_base", Kind::Number),
    field("dph_total", Kind::Number),
    field("driver_version", Kind::Version),
    scaled("duration", DAY),
    field("external", Kind::Flag),
    field("flops_per_dphtotal", Kind::Number),
    field("geolocation", Kind::Text),
    field("gpu_arch", Kind::Text),
    field("gpu_display_active", Kind::Flag),
    field("gpu_frac", Kind::Number),
    field("gpu_max_power", Kind::Number),
    field("gpu_max_temp", Kind::Number),
    field("gpu_mem_bw", Kind::Number),
    field("gpu_name", Kind::Text),
    scaled("gpu_ram", GB),
    scaled("gpu_total_ram", GB),
    field("has_avx", Kind::Flag),
    field("host_id", Kind::Number),
    field("inet_down", Kind::Number),
    field("inet_down_cost", Kind::Number),
    field("inet_up", Kind::Number),
    field("inet_up_cost", Kind::Number),
    field("machine_id", Kind::Number),
    field("min_bid", Kind::Number),
    field("mobo_name", Kind::Text),
    field("num_gpus", Kind::Number),
    field("pci_gen", Kind::Number),
    field("pcie_bw", Kind::Number),
    field("reliability2", Kind::Number),
    field("rentable", Kind::Flag),
    field("rented", Kind::Flag),
    field("score", Kind::Number),
    field("static_ip", Kind::Flag),
    field("storage_cost", Kind::Number),
    field("total_flops", Kind::Number),
    field("ubuntu_version", Kind::Text),
    field("verification", Kind::Text),
    field("verified", Kind::Flag),
    field("vms_enabled", Kind::Flag),
];

/// Short and older names, and `id`: a filter on `id` matches nothing at the provider, one on `ask_contract_id` does.
const ALIASES: [(&str, &str); 7] = [
    ("cuda_vers", "cuda_max_good"),
    ("display_active", "gpu_display_active"),
    ("dlperf_usd", "dlperf_per_dphtotal"),
    ("dph", "dph_total"),
    ("flops_usd", "flops_per_dphtotal"),
    ("id", "ask_contract_id"),
    ("reliability", "reliability2"),
];

/// The field a user means by `name`, aliases included.
#[must_use]
pub fn find(name: &str) -> Option<Field> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, real)| real);
    FIELDS.iter().find(|field| field.name == name).copied()
}

/// The name nearest to a misspelt one, if any is near enough to be meant.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    // One slip in three letters; beyond that a suggestion misleads more often than it helps.
    let length = name.chars().count();
    let slips = (length / 3).max(1);
    let names = FIELDS.iter().map(|field| field.name).chain(ALIASES.iter().map(|(alias, _)| *alias));
    names
        // Lengths that differ by more need more slips; so no text, however long, costs more than its own length.
        .filter(|known| length.abs_diff(known.len()) <= slips)
        .map(|known| (strsim::damerau_levenshtein(&name, known), known))
        .filter(|(distance, _)| *distance <= slips)
        .min()
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_whole_book_is_not_compared() {
        assert_eq!(nearest("gpu_nam"), Some("gpu_name"));
        assert_eq!(nearest(&"gpu_name".repeat(1 << 17)), None);
    }

    #[test]
    fn every_name_leads_to_one_field() {
        assert!(FIELDS.windows(2).all(|pair| pair[0].name < pair[1].name), "sorted, none twice");
        for (alias, real) in ALIASES {
            assert_eq!(find(alias).map(|field| field.name), Some(real));
            assert!(FIELDS.iter().all(|field| field.name != alias), "`{alias}` is both a field and an alias");
        }
    }
}
