// Signs deliveries with the libraries of npm. Reads [{kind, secret, id, timestamp, body}], prints the headers of each.
import { readFileSync } from "node:fs";
import { sign } from "@octokit/webhooks-methods";
import { Webhook } from "standardwebhooks";

const deliveries = JSON.parse(readFileSync(0, "utf8"));
const signed = deliveries.map(async ({ kind, secret, id, timestamp, body }) => {
  if (kind === "github") {
    return { "x-hub-signature-256": await sign(secret, body) };
  }
  return {
    "webhook-id": id,
    "webhook-timestamp": String(timestamp),
    "webhook-signature": new Webhook(secret).sign(id, new Date(timestamp * 1000), body),
  };
});
console.log(JSON.stringify(await Promise.all(signed)));
