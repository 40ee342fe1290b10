//! What an app may have in AWS besides what its spec names.

use crate::domain::app::App;
use crate::domain::retained::Dropped;
use crate::provision::kinds::recover;

/// What earlier specs of the app named, and what the records have besides: of that only the id is known.
pub fn dropped(app: &App) -> Dropped {
    let mut all = app.dropped.clone();
    for it in app.resources.iter().filter(|it| it.owned.is_some()) {
        recover(&it.resource, &app.spec, &mut all);
    }
    all
}
