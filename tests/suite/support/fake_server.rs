//! Servers on loopback in the place of others: platforms, forges, receivers, collectors.

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Serves until the tasks are dropped. Returns the URL, too.
pub async fn serve(router: Router) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, tasks)
}
