//! The provider's side: complete lists in pages of 25, an account with credit, searches that find nothing, destroys that
//! are accepted. Not the simulator: its lists are computed for fidelity, these are cut from text, so that 5,000 rows cost
//! the machine what the keeper does with them and little else.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use anyhow::Result;
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::header,
    response::IntoResponse,
    routing::{delete, get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::world::{Node, World};

/// The container port that the rows publish, the keeper's default.
const SERVER_PORT: u16 = 5555;

/// Serves until the runtime ends.
pub async fn serve(world: Arc<World>) -> Result<SocketAddr> {
    let routes = Router::new()
        .route("/api/v1/instances/", get(list))
        .route("/api/v0/users/current/", get(account))
        .route("/api/v0/bundles/", post(search))
        .route("/api/v0/instances/{id}/", delete(destroy))
        .with_state(world);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}

#[derive(Deserialize)]
struct Page {
    limit: usize,
    #[serde(default)]
    after_token: usize,
}

async fn list(State(world): State<Arc<World>>, Query(page): Query<Page>) -> impl IntoResponse {
    let listed = |node: &&Node| node.destroyed_ns.load(Relaxed) == 0;
    let nodes: Vec<&Node> = world.nodes().iter().filter(listed).collect();
    let end = nodes.len().min(page.after_token + page.limit);
    let mut text = String::from(r#"{"success":true,"instances":["#);
    for (i, node) in nodes.get(page.after_token..end).unwrap_or_default().iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        row(&mut text, node);
    }
    let token = if end < nodes.len() { format!("\"{end}\"") } else { "null".into() };
    // Writing into a string cannot fail.
    let _ = write!(text, r#"],"total_instances":{},"next_token":{token}}}"#, nodes.len());
    if end == nodes.len() {
        world.lists.fetch_add(1, Relaxed);
    }
    ([(header::CONTENT_TYPE, "application/json")], text)
}

/// A row with the fields and the bulk of a real one.
fn row(text: &mut String, node: &Node) {
    let status = if node.exited.load(Relaxed) { "exited" } else { "running" };
    let (id, label, address) = (node.tenant.instance, &node.tenant.label, node.address);
    let (ip, port) = (address.ip(), address.port());
    let _ = write!(
        text,
        r#"{{"id":{id},"machine_id":{},"host_id":{},"label":"{label}","actual_status":"{status}","cur_state":"running","intended_status":"running","next_state":"running","status_msg":"success, running nvidia/cuda:12.4.0-runtime-ubuntu22.04","gpu_name":"RTX 4090","num_gpus":1,"dph_total":0.3521,"dph_base":0.34,"public_ipaddr":"{ip}\n","local_ipaddrs":"{ip} \n","ports":{{"{SERVER_PORT}/tcp":[{{"HostIp":"0.0.0.0","HostPort":"{port}"}},{{"HostIp":"::","HostPort":"{port}"}}]}},"ssh_host":null,"ssh_port":null,"image_runtype":"ssh_direc ssh_proxy","end_date":1893456000.0,{BULK}}}"#,
        10_000 + id % 5000,
        1000 + id % 700,
    );
}

/// What a row carries besides; nothing of it is read.
const BULK: &str = r#""gpu_util":97.0,"gpu_temp":61.0,"gpu_ram":24564,"gpu_totalram":24564,"gpu_arch":"nvidia","gpu_frac":0.125,"gpu_lanes":16,"gpu_mem_bw":876.3,"cpu_name":"AMD EPYC 7543 32-Core Processor","cpu_cores":64,"cpu_cores_effective":8.0,"cpu_ram":257658,"cpu_util":3.41,"cpu_arch":"amd64","mem_usage":3.2,"mem_limit":31.9,"vmem_usage":11.2,"disk_space":120.0,"disk_usage":12.9,"disk_util":0.11,"disk_name":"nvme","disk_bw":3121.9,"inet_up":812.4,"inet_down":934.2,"inet_up_cost":0.003,"inet_down_cost":0.003,"internet_up_cost_per_tb":3.0,"internet_down_cost_per_tb":3.0,"storage_cost":0.15,"storage_total_cost":0.0121,"min_bid":0.21,"is_bid":false,"rentable":false,"rented":true,"verification":"verified","reliability2":0.9934,"dlperf":92.1,"dlperf_per_dphtotal":261.2,"flops_per_dphtotal":233.5,"total_flops":82.3,"cuda_max_good":12.6,"driver_version":"550.90.07","geolocation":"California, US","country_code":"US","static_ip":true,"direct_port_count":250,"direct_port_start":41000,"direct_port_end":41249,"mobo_name":"ROME2D32GM-2T","bundle_id":412345678,"bw_nvlink":0.0,"pcie_bw":23.1,"pci_gen":4.0,"has_avx":1,"hosting_type":0,"os_version":"22.04","image_uuid":"nvidia/cuda:12.4.0-runtime-ubuntu22.04","image_args":[],"extra_env":[["PORT","5555"],["HOST","0.0.0.0"]],"onstart":"touch /root/started","jupyter_token":null,"template_id":null,"template_hash_id":null,"time_remaining":"","time_remaining_isbid":"","start_date":1793456000.0,"duration":8640000.0,"uptime_mins":null,"expected_reliability":0.0,"external":false,"webpage":null,"logo":"/static/logos/vastai_small2.png","score":412.2,"search":{"gpuCostPerHour":0.34,"diskHour":0.0121,"totalHour":0.3521,"discountTotalHour":0.0,"discountedTotalPerHour":0.3521},"instance":{"gpuCostPerHour":0.34,"diskHour":0.0121,"totalHour":0.3521,"discountTotalHour":0.0,"discountedTotalPerHour":0.3521},"credit_balance":null,"credit_discount":null,"credit_discount_max":0.4,"client_run_time":1.1,"host_run_time":2592000.0,"is_vm_deverified":false,"vericode":null"#;

async fn account() -> Json<Value> {
    Json(json!({"id": 1, "credit": 100.0, "balance": 0.0, "email": "bench@example.org"}))
}

async fn search() -> Json<Value> {
    Json(json!({"success": true, "offers": []}))
}

async fn destroy(State(world): State<Arc<World>>, Path(id): Path<u64>) -> Json<Value> {
    world.destroy(id);
    Json(json!({"success": true}))
}
