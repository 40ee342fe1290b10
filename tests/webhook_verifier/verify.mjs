// Verifies requests with the library of npm. Reads [{secret, headers, body}] and prints what each holds, or the error.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const requests = JSON.parse(readFileSync(0, "utf8"));
const verified = requests.map(({ secret, headers, body }) => {
  try {
    return { payload: new Webhook(secret).verify(body, headers) };
  } catch (error) {
    return { error: error.message };
  }
});
console.log(JSON.stringify(verified));
