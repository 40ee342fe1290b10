//! Counts the images of a repository, which a deletion takes with it.

use std::collections::BTreeSet;

use aws_sdk_ecr::types::{ImageStatusFilter, ListImagesFilter};

use super::state::Repository;
use crate::aws::Service;
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;

impl Repository {
    pub(super) async fn count_images(&self, cx: &ReconcileContext) -> Result<usize, Fault> {
        // Without a filter ECR leaves out what is archived (Amazon ECR API Reference, `ListImages`).
        let all = ListImagesFilter::builder()
            .image_status(ImageStatusFilter::Any)
            .build();
        let ask = cx
            .account
            .ecr(&self.region)
            .list_images()
            .repository_name(self.name.as_str())
            .filter(all);
        let (mut images, mut token) = (0, None);
        loop {
            let page = cx
                .call(
                    Service::Ecr,
                    "ListImages",
                    ask.clone().set_next_token(token).send(),
                )
                .await?;
            images += page
                .image_ids()
                .iter()
                .filter_map(|image| image.image_digest())
                .collect::<BTreeSet<_>>()
                .len();
            token = page.next_token;
            if token.is_none() {
                return Ok(images);
            }
        }
    }
}
