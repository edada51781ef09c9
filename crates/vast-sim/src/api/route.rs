//! Which endpoint a method and a path name.
//!
//! Routing is done by hand: it gives every endpoint a short name (for faults, spacing and the record), redirects a
//! missing trailing slash with 301 as the live service does, and answers unknown paths with a proxy's HTML page.

/// An endpoint with the ids of its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    SearchBundles,
    SearchAsks,
    Create(u64),
    CreateBulk,
    Launch,
    List,
    ListRetired,
    Filters,
    Show(u64),
    Destroy(u64),
    DestroyBulk,
    Change(u64),
    ChangeBulk,
    Reboot(u64),
    Recycle(u64),
    ChangeBid(u64),
    Prepay(u64),
    Update(u64),
    Logs(u64),
    Execute(u64),
    InstanceKeys(u64),
    AttachKey(u64),
    DetachKey(u64, u64),
    AccountKeys,
    AddAccountKey,
    ChangeAccountKey(u64),
    DeleteAccountKey(u64),
    User,
    GpuNames,
    Reports(u64),
    ReportMachine(u64),
    Deposit(u64),
    Templates,
    Maintenances,
    PriceIncreases,
    AnswerPriceIncrease,
    Charges,
    Output(String),
}

/// Short names of all endpoints, in the order of the enum.
pub(crate) const NAMES: [&str; 38] = [
    "search",
    "search_asks",
    "create",
    "create_bulk",
    "launch",
    "list",
    "list_retired",
    "filters",
    "show",
    "destroy",
    "destroy_bulk",
    "change",
    "change_bulk",
    "reboot",
    "recycle",
    "change_bid",
    "prepay",
    "update",
    "logs",
    "execute",
    "instance_keys",
    "attach_key",
    "detach_key",
    "account_keys",
    "add_account_key",
    "change_account_key",
    "delete_account_key",
    "user",
    "gpu_names",
    "reports",
    "report_machine",
    "deposit",
    "templates",
    "maintenances",
    "price_increases",
    "answer_price_increase",
    "charges",
    "output",
];

impl Endpoint {
    /// The short name; one of [`NAMES`].
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Endpoint::SearchBundles => "search",
            Endpoint::SearchAsks => "search_asks",
            Endpoint::Create(_) => "create",
            Endpoint::CreateBulk => "create_bulk",
            Endpoint::Launch => "launch",
            Endpoint::List => "list",
            Endpoint::ListRetired => "list_retired",
            Endpoint::Filters => "filters",
            Endpoint::Show(_) => "show",
            Endpoint::Destroy(_) => "destroy",
            Endpoint::DestroyBulk => "destroy_bulk",
            Endpoint::Change(_) => "change",
            Endpoint::ChangeBulk => "change_bulk",
            Endpoint::Reboot(_) => "reboot",
            Endpoint::Recycle(_) => "recycle",
            Endpoint::ChangeBid(_) => "change_bid",
            Endpoint::Prepay(_) => "prepay",
            Endpoint::Update(_) => "update",
            Endpoint::Logs(_) => "logs",
            Endpoint::Execute(_) => "execute",
            Endpoint::InstanceKeys(_) => "instance_keys",
            Endpoint::AttachKey(_) => "attach_key",
            Endpoint::DetachKey(..) => "detach_key",
            Endpoint::AccountKeys => "account_keys",
            Endpoint::AddAccountKey => "add_account_key",
            Endpoint::ChangeAccountKey(_) => "change_account_key",
            Endpoint::DeleteAccountKey(_) => "delete_account_key",
            Endpoint::User => "user",
            Endpoint::GpuNames => "gpu_names",
            Endpoint::Reports(_) => "reports",
            Endpoint::ReportMachine(_) => "report_machine",
            Endpoint::Deposit(_) => "deposit",
            Endpoint::Templates => "templates",
            Endpoint::Maintenances => "maintenances",
            Endpoint::PriceIncreases => "price_increases",
            Endpoint::AnswerPriceIncrease => "answer_price_increase",
            Endpoint::Charges => "charges",
            Endpoint::Output(_) => "output",
        }
    }

    /// The instance that the path names.
    pub(crate) fn instance(&self) -> Option<u64> {
        match self {
            Endpoint::Show(id)
            | Endpoint::Destroy(id)
            | Endpoint::Change(id)
            | Endpoint::Reboot(id)
            | Endpoint::Recycle(id)
            | Endpoint::ChangeBid(id)
            | Endpoint::Prepay(id)
            | Endpoint::Update(id)
            | Endpoint::Logs(id)
            | Endpoint::Execute(id)
            | Endpoint::InstanceKeys(id)
            | Endpoint::AttachKey(id)
            | Endpoint::DetachKey(id, _)
            | Endpoint::Deposit(id) => Some(*id),
            _ => None,
        }
    }

    /// Whether a call needs no key: searches (observed live), GPU names and stored outputs.
    pub(crate) fn is_public(&self) -> bool {
        matches!(self, Endpoint::SearchBundles | Endpoint::GpuNames | Endpoint::Output(_))
    }

    /// Published limit of one identity: so many calls in so many seconds (Vast.ai OpenAPI, `x-rate-limit`).
    pub(crate) fn limit(&self) -> Option<(usize, f64)> {
        match self {
            Endpoint::SearchBundles => Some((10, 60.0)),
            _ => Some((1, self.spacing())).filter(|(_, seconds)| *seconds > 0.0),
        }
    }

    /// Published seconds between two calls; 0: none published.
    pub(crate) fn spacing(&self) -> f64 {
        match self {
            Endpoint::Create(_) | Endpoint::CreateBulk => 4.5,
            Endpoint::Launch => 5.0,
            Endpoint::Destroy(_) | Endpoint::DestroyBulk => 3.0,
            Endpoint::Change(_) | Endpoint::ChangeBulk | Endpoint::Reboot(_) | Endpoint::Recycle(_) => 1.0,
            Endpoint::ChangeBid(_) => 5.5,
            Endpoint::Execute(_) => 1.5,
            Endpoint::Prepay(_) | Endpoint::DetachKey(..) | Endpoint::Show(_) => 2.0,
            Endpoint::List | Endpoint::AddAccountKey | Endpoint::ChangeAccountKey(_) => 1.0,
            Endpoint::Reports(_) => 1.2,
            Endpoint::Templates => 3.0,
            _ => 0.0,
        }
    }
}

/// What routing finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Routed {
    Endpoint(Endpoint),
    /// The path lacks its trailing slash.
    Redirect,
    /// The path exists, not with this method.
    WrongMethod,
    Unknown,
}

/// These exist without a trailing slash as well.
fn is_slashless(path: &str) -> bool {
    ["/reports", "/report", "/maintenances"].iter().any(|end| path.ends_with(end))
        || path.starts_with("/results/")
}

/// Finds the endpoint.
pub(crate) fn route(method: &str, path: &str) -> Routed {
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let found = match find(method, &segments) {
        Some(endpoint) => Routed::Endpoint(endpoint),
        None if ["GET", "POST", "PUT", "DELETE"].iter().any(|other| find(other, &segments).is_some()) => {
            Routed::WrongMethod
        }
        None => return Routed::Unknown,
    };
    if path.ends_with('/') || is_slashless(path) { found } else { Routed::Redirect }
}

fn find(method: &str, segments: &[&str]) -> Option<Endpoint> {
    let id = |text: &str| text.parse::<u64>().ok();
    if let ["results", token] = segments {
        return (method == "GET").then(|| Endpoint::Output((*token).to_owned()));
    }
    let (["api", version], rest) = segments.split_at_checked(2)? else { return None };
    let rest: Vec<&str> = rest.to_vec();
    if *version == "v1" {
        return (method == "GET" && rest == ["instances"]).then_some(Endpoint::List);
    }
    if *version != "v0" {
        return None;
    }
    Some(match (method, rest.as_slice()) {
        ("POST" | "GET", ["bundles"]) => Endpoint::SearchBundles,
        ("PUT", ["search", "asks"]) => Endpoint::SearchAsks,
        ("POST", ["asks", "bulk"]) => Endpoint::CreateBulk,
        ("PUT", ["asks", ask]) => Endpoint::Create(id(ask)?),
        ("PUT", ["launch_instance"]) => Endpoint::Launch,
        ("GET", ["users", "current"]) => Endpoint::User,
        ("GET", ["gpu_names", "unique"]) => Endpoint::GpuNames,
        ("GET", ["ssh"]) => Endpoint::AccountKeys,
        ("POST", ["ssh"]) => Endpoint::AddAccountKey,
        ("PUT", ["ssh", key]) => Endpoint::ChangeAccountKey(id(key)?),
        ("DELETE", ["ssh", key]) => Endpoint::DeleteAccountKey(id(key)?),
        ("GET", ["machines", "maintenances"]) => Endpoint::Maintenances,
        ("GET", ["machines", machine, "reports"]) => Endpoint::Reports(id(machine)?),
        ("PUT", ["machines", machine, "report"]) => Endpoint::ReportMachine(id(machine)?),
        ("GET", ["template"]) => Endpoint::Templates,
        ("GET", ["charges"]) => Endpoint::Charges,
        (method, ["instances", rest @ ..]) => return find_instance(method, rest),
        _ => return None,
    })
}

fn find_instance(method: &str, rest: &[&str]) -> Option<Endpoint> {
    let id = |text: &str| text.parse::<u64>().ok();
    Some(match (method, rest) {
        ("GET", []) => Endpoint::ListRetired,
        ("PUT", []) => Endpoint::ChangeBulk,
        ("DELETE", []) => Endpoint::DestroyBulk,
        ("GET", ["filters"]) => Endpoint::Filters,
        ("GET", ["pending-price-increases"]) => Endpoint::PriceIncreases,
        ("PUT", ["accept-price-increase" | "reject-price-increase"]) => Endpoint::AnswerPriceIncrease,
        ("GET", ["balance", it]) => Endpoint::Deposit(id(it)?),
        ("PUT", ["reboot", it]) => Endpoint::Reboot(id(it)?),
        ("PUT", ["recycle", it]) => Endpoint::Recycle(id(it)?),
        ("PUT", ["bid_price", it]) => Endpoint::ChangeBid(id(it)?),
        ("PUT", ["prepay", it]) => Endpoint::Prepay(id(it)?),
        ("PUT", ["update_template", it]) => Endpoint::Update(id(it)?),
        ("PUT", ["request_logs", it]) => Endpoint::Logs(id(it)?),
        ("PUT", ["command", it]) => Endpoint::Execute(id(it)?),
        ("GET", [it]) => Endpoint::Show(id(it)?),
        ("PUT", [it]) => Endpoint::Change(id(it)?),
        ("DELETE", [it]) => Endpoint::Destroy(id(it)?),
        ("GET", [it, "ssh"]) => Endpoint::InstanceKeys(id(it)?),
        ("POST", [it, "ssh"]) => Endpoint::AttachKey(id(it)?),
        ("DELETE", [it, "ssh", key]) => Endpoint::DetachKey(id(it)?, id(key)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, NAMES, Routed, route};

    #[test]
    fn paths_name_endpoints() {
        let table = [
            ("PUT", "/api/v0/asks/7/", Routed::Endpoint(Endpoint::Create(7))),
            ("POST", "/api/v0/asks/bulk/", Routed::Endpoint(Endpoint::CreateBulk)),
            ("GET", "/api/v1/instances/", Routed::Endpoint(Endpoint::List)),
            ("GET", "/api/v0/instances/", Routed::Endpoint(Endpoint::ListRetired)),
            ("GET", "/api/v0/instances/9/", Routed::Endpoint(Endpoint::Show(9))),
            ("DELETE", "/api/v0/instances/9/ssh/4/", Routed::Endpoint(Endpoint::DetachKey(9, 4))),
            ("GET", "/api/v0/machines/5/reports", Routed::Endpoint(Endpoint::Reports(5))),
            ("GET", "/api/v0/machines/5/reports/", Routed::Endpoint(Endpoint::Reports(5))),
            ("GET", "/api/v0/users/current", Routed::Redirect),
            ("POST", "/api/v0/users/current/", Routed::WrongMethod),
            ("GET", "/api/v0/instances/-1/", Routed::Unknown),
            ("GET", "/api/v0/instances/99999999999999999999/", Routed::Unknown),
            ("GET", "/api/v2/instances/", Routed::Unknown),
            ("GET", "/", Routed::Unknown),
        ];
        for (method, path, expected) in table {
            assert_eq!(route(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn every_name_is_listed() {
        for endpoint in [Endpoint::SearchBundles, Endpoint::Update(1), Endpoint::Output(String::new())] {
            assert!(NAMES.contains(&endpoint.name()));
        }
    }
}
