//! Keys and variables that do not exist: told with the known name that was probably meant.

use figment::value::{Dict, Value};

use super::{
    fault::Fault,
    keys,
    layer::{Layer, Settings},
};

/// Similarity from which on a suggestion helps more than it confuses.
const SIMILAR: f64 = 0.84;

/// Slips of the pen, letters wrong, lacking, too many or swapped, that a variable's name may have.
const SLIPS: usize = 2;

/// The lists of tables.
const LISTS: [&str; 2] = ["group", "alerts.sink"];

/// The faults of a file's unknown keys.
pub(super) fn keys_of(layer: &Layer) -> Vec<Fault> {
    let unknown = layer.places().filter(|(path, _)| !is_known(path));
    // The unknown table is told, not each key in it once more.
    let outermost = unknown.filter(|(path, _)| {
        let above = path.rfind(['.', '[']).and_then(|end| path.get(..end));
        above.is_none_or(is_known)
    });
    outermost.map(|(path, place)| path_fault(path).at(Some(place.clone()))).collect()
}

/// The faults of sections that are no tables, whose keys would silently keep their defaults.
pub(super) fn sections_of(settings: &Settings) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut check = |path: String, value: &Value| {
        if !matches!(value, Value::Dict(..)) {
            let place = settings.place_of(value, &path);
            faults.push(Fault::new(path, "must be a table").at(Some(place)));
        }
    };
    let groups: Vec<Dict> = settings.tables("group").unwrap_or_default();
    for section in sections() {
        if let Some((value, _)) = settings.find(section) {
            check(section.into(), &value);
        }
        for (index, group) in groups.iter().enumerate() {
            if let Some(value) = group.get(section) {
                check(format!("group[{index}].{section}"), value);
            }
        }
    }
    faults
}

/// The fault of a path that is no key.
pub(super) fn path_fault(path: &str) -> Fault {
    if let Some(secret) = keys::SECRETS.iter().find(|secret| secret.path == path) {
        let hint = format!("a secret comes from {0}, {0}_FILE, or a systemd credential", secret.name);
        return Fault::new(path, "secrets do not belong here").hint(hint);
    }
    let fault = Fault::new(path, "no such key");
    if let (Some("group"), inner) = split_list(path)
        && is_known(inner)
    {
        return fault.hint(format!("`{inner}` holds for the whole fleet, not for a group"));
    }
    match nearest_path(path) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault,
    }
}

/// The hint for a nested variable that is no key.
pub(super) fn nested_hint(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    let list = LISTS.into_iter().find(|list| {
        let list: Vec<&str> = list.split('.').collect();
        parts.starts_with(&list)
    });
    match (list, nearest_path(path)) {
        (Some(list), _) => format!("`[[{list}]]` can be given in a TOML file only"),
        (None, Some(near)) => format!("did you mean `{}`?", keys::nested_variable(&near)),
        (None, None) => "`vast-keeper config show` lists every key".into(),
    }
}

/// The known variable that a name is a slip of the pen away from.
pub(super) fn nearest_variable(unknown: &str) -> Option<&'static str> {
    let flat = keys::all().flat_map(|key| key.flat.iter().map(|flat| flat.name));
    let secrets = keys::SECRETS.iter().map(|secret| secret.name);
    let process = super::environment::PROCESS_VARIABLES.iter().copied();
    flat.chain(secrets)
        .chain(process)
        // Names are long, and two slips leave them recognisable; a short name of somebody else's stays his.
        .filter(|name| name.len() >= 8 && name.len().abs_diff(unknown.chars().count()) <= SLIPS)
        .map(|name| (strsim::damerau_levenshtein(name, unknown), name))
        .filter(|(distance, _)| *distance <= SLIPS)
        .min()
        .map(|(_, name)| name)
}

fn sections() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    keys::all().map(keys::Key::section).filter(move |section| {
        let new = !section.is_empty() && *section != last;
        last = section;
        new
    })
}

/// Whether a path is a key, part of one, or a table on the way to one.
fn is_known(path: &str) -> bool {
    let (list, inner) = split_list(path);
    match list {
        Some(list) => {
            let field = keys::FIELDS.iter().any(|field| field.list == list && field.name == inner);
            let table = keys::find_in_table(inner).is_some_and(|(key, _)| key.per_group);
            let key = || keys::all().any(|key| key.per_group && leads_to(key.path, inner));
            field || (list == "group" && (table || key()))
        }
        None => {
            // A list that is written as a plain table is told where lists are read.
            let in_list = LISTS.into_iter().any(|list| path.starts_with(list) || leads_to(list, path));
            in_list || keys::find_in_table(path).is_some() || keys::all().any(|key| leads_to(key.path, path))
        }
    }
}

fn leads_to(known: &str, path: &str) -> bool {
    known == path || known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
}

/// The known key nearest to a path: the right name in the wrong place, or a misspelling.
fn nearest_path(unknown: &str) -> Option<String> {
    let lower = unknown.to_ascii_lowercase().replace('-', "_");
    let (list, inner) = split_list(&lower);
    let per_group = |key: &&keys::Key| list != Some("group") || key.per_group;
    let mut known: Vec<&str> = match list {
        Some(list) => {
            keys::FIELDS.iter().filter(|field| field.list == list).map(|field| field.name).collect()
        }
        None => sections().chain(keys::SECRETS.iter().map(|secret| secret.path)).collect(),
    };
    if list != Some("alerts.sink") {
        known.extend(keys::all().filter(per_group).map(|key| key.path));
    }
    // What was typed is no answer to itself: a section is a known name, but no key.
    known.retain(|path| *path != split_list(unknown).1);
    let last = |path: &str| path.rsplit('.').next().map(String::from).unwrap_or_default();
    let best = |score: &dyn Fn(&str) -> f64, least: f64| {
        let scored = known.iter().map(|path| (score(path), *path)).filter(|(score, _)| *score >= least);
        scored.max_by(|(one, _), (two, _)| one.total_cmp(two)).map(|(_, path)| path)
    };
    let wanted = last(inner);
    let mut same = known.iter().filter(|path| last(path) == wanted);
    let misplaced = same.next().filter(|_| same.next().is_none()).copied();
    let first = |path: &str| path.split('.').next().map(String::from).unwrap_or_default();
    let in_section = |path: &str| {
        let here = first(path) == first(inner);
        if here { strsim::jaro_winkler(&last(path), &wanted) } else { 0.0 }
    };
    let anywhere = |path: &str| strsim::jaro_winkler(path, inner);
    best(&in_section, 0.9).or(misplaced).or_else(|| best(&anywhere, SIMILAR)).map(String::from)
}

/// `group[0].healt.interval` as the list `group` and the path within.
fn split_list(path: &str) -> (Option<&'static str>, &str) {
    for list in LISTS {
        let rest = path.strip_prefix(list).and_then(|rest| rest.strip_prefix('['));
        if let Some((_, inner)) = rest.and_then(|rest| rest.split_once("].")) {
            return (Some(list), inner);
        }
    }
    (None, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_lead_to_the_key_that_was_meant() {
        for (slip, meant) in [
            ("health.intervall", "health.interval"),
            ("health.retry-interval", "health.retry_interval"),
            ("helth", "health"),
            ("interval_busy", ""),
            ("failure_threshold", "health.failure_threshold"),
            ("offers.image", "rental.image"),
            ("rails.max_backoff", ""),
            ("group[3].health.intervall", "health.interval"),
            ("group[3].cuont", "count"),
            ("alerts.sink[0].min_severty", "min_severity"),
            ("http", "http.listen"),
            ("xyzzy", ""),
        ] {
            let near = nearest_path(slip).unwrap_or_default();
            assert!(near == meant || meant.is_empty(), "`{slip}` was taken for `{near}`, not `{meant}`");
        }
        assert_eq!(nearest_path("xyzzy"), None);
        assert_eq!(nearest_variable("HEALTH_CHECK_INTERVALL"), Some("HEALTH_CHECK_INTERVAL"));
        assert_eq!(nearest_variable("PATH"), None);
    }
}
