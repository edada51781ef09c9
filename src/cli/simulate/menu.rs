//! Menus of faults: by name, or rates of one's own in a TOML file.

use toml_edit::Document;

use crate::{
    cli::exit::{self, Failure},
    world::{Base, Fault, Menu, TABLE},
};

/// More strikes a day than this are a typing error.
const MOST_A_DAY: f64 = 10_000.0;

/// A built-in menu, or one that is read from a file.
pub(super) fn named(text: &str) -> Result<Menu, Failure> {
    if let Some(base) = base(text) {
        return Ok(Menu::of(base));
    }
    let usage = |message: String| {
        Failure::new(exit::USAGE, message).hint(
            "write `base = \"typical\"` and, under `[rates]`, times a day such as `keeper-offline = 2.0`",
        )
    };
    let read = std::fs::read_to_string(text).map_err(|fault| {
        usage(format!("`--faults {text}` is neither calm, typical nor storm, nor a readable file: {fault}"))
    })?;
    parse(&read).map_err(|why| usage(format!("{text}: {why}")))
}

fn base(text: &str) -> Option<Base> {
    match text {
        "nothing" => Some(Base::Nothing),
        "calm" => Some(Base::Calm),
        "typical" => Some(Base::Typical),
        "storm" => Some(Base::Storm),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Menu, String> {
    let document = Document::parse(text).map_err(|fault| format!("is not TOML: {}", fault.message()))?;
    let table = document.as_table();
    let known = ["base", "exists", "rates"];
    if let Some((key, _)) = table.iter().find(|(key, _)| !known.contains(key)) {
        return Err(format!("`{key}` means nothing here; there are `base`, `exists` and `[rates]`"));
    }
    let mut menu = Menu::of(Base::Nothing);
    if let Some(item) = table.get("base") {
        let word = item.as_str().ok_or("`base` is no text")?;
        menu = Menu::of(base(word).ok_or_else(|| format!("`{word}` is no built-in menu"))?);
    }
    if let Some(item) = table.get("exists") {
        menu.exists = number(item).ok_or("`exists` is a chance from 0 to 1")?;
    }
    if let Some(item) = table.get("rates") {
        let rates = item.as_table_like().ok_or("`rates` is no table")?;
        for (name, item) in rates.iter() {
            let fault = Fault::try_from(name.to_owned())
                .map_err(|why| format!("{why}; did you mean `{}`?", nearest(name)))?;
            let rate = number(item).ok_or_else(|| format!("`{name}` is no number of times a day"))?;
            menu.rates.insert(fault, rate);
        }
    }
    check(&menu)?;
    Ok(menu)
}

/// Whether a menu asks for what can be.
pub(super) fn check(menu: &Menu) -> Result<(), String> {
    if !(0.0..=1.0).contains(&menu.exists) {
        return Err("`exists` is a chance from 0 to 1".into());
    }
    match menu.rates.iter().find(|(_, rate)| !(0.0..=MOST_A_DAY).contains(*rate)) {
        Some((fault, _)) => Err(format!("`{}` strikes 0 to {MOST_A_DAY} times a day", fault.name())),
        None => Ok(()),
    }
}

fn number(item: &toml_edit::Item) -> Option<f64> {
    item.as_float().or_else(|| item.as_integer().map(|number| number as f64))
}

fn nearest(name: &str) -> &'static str {
    let distance = |row: &&crate::world::Row| strsim::damerau_levenshtein(row.name, name);
    TABLE.iter().min_by_key(distance).map_or("", |row| row.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_menu_of_ones_own_starts_from_a_built_in_one() {
        let menu = parse("base = 'calm'\n[rates]\nbox-exit = 2\nkeeper-offline = 0.5\n").unwrap();
        assert_eq!(menu.base, Base::Calm);
        assert!((menu.daily(Fault::BoxExit, 3) - 6.0).abs() < 1e-9, "of each node");
        assert!((menu.daily(Fault::KeeperOffline, 3) - 0.5).abs() < 1e-9, "of the fleet");
        assert!(menu.daily(Fault::ServerHang, 1) > 0.0);
        assert!(parse("").unwrap().drawn(9, || 0.0).is_empty(), "nothing is named, nothing happens");
    }

    #[test]
    fn what_is_mistyped_is_told() {
        assert!(parse("[rates]\nbox-exits = 2").unwrap_err().contains("did you mean `box-exit`"));
        for wrong in [
            "[rates]\nbox-exit = -1",
            "rates = 3",
            "exists = 2.0",
            "base = 'gale'",
            "rate = 1",
            "=",
            "base = 1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
