//! Resources that an app may have in AWS and that its spec does not include.

use crate::domain::app::App;
use crate::domain::retained::Dropped;
use crate::provision::kinds::recover;

/// Resources that earlier specs of the app included, and recorded resources of which only the ID is known.
pub fn dropped(app: &App) -> Dropped {
    let mut all = app.dropped.clone();
    for it in app.resources.iter().filter(|it| it.owned.is_some()) {
        recover(&it.resource, &app.spec, &mut all);
    }
    all
}
