// Reads a JSON array of requests ({ service, key, headers with names in lower case, body }) and writes, for each, whether
// the receiver of that service accepts it, as the service's own documentation tells receivers to do it.
const { createHash, createHmac, createPublicKey, timingSafeEqual, verify } = require("crypto");

const equal = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
const hmac = (key, content, encoding) => createHmac("sha256", key).update(content).digest(encoding);
const isPresent = (seconds) => Math.abs(Date.now() / 1000 - Number(seconds)) < 60;
// One of a Standard Webhooks signature header's list.
const some = (header, version, check) =>
  header.split(" ").some((part) => part.startsWith(version) && check(part.slice(version.length)));

const receivers = {
  standard: ({ key, headers, body }) => {
    const secret = Buffer.from(key.replace("whsec_", ""), "base64");
    const content = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
    return isPresent(headers["webhook-timestamp"]) &&
      some(headers["webhook-signature"], "v1,", (given) => equal(given, hmac(secret, content, "base64")));
  },
  "standard-ed25519": ({ key, headers, body }) => {
    const x = Buffer.from(key.replace("whpk_", ""), "base64").toString("base64url");
    const publicKey = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
    const content = Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`);
    return isPresent(headers["webhook-timestamp"]) && some(headers["webhook-signature"], "v1a,",
      (given) => verify(null, content, publicKey, Buffer.from(given, "base64")));
  },
  github: ({ key, headers, body }) =>
    headers["x-github-event"] === JSON.parse(body).type && headers["x-github-delivery"] === JSON.parse(body).id &&
    equal(headers["x-hub-signature-256"], `sha256=${hmac(key, body, "hex")}`),
  stripe: ({ key, headers, body }) => {
    const items = headers["stripe-signature"].split(",").map((item) => item.split("="));
    const [, timestamp] = items.find(([name]) => name === "t");
    const expected = hmac(key, `${timestamp}.${body}`, "hex");
    return isPresent(timestamp) && items.some(([name, given]) => name === "v1" && equal(given, expected));
  },
  shopify: ({ key, headers, body }) =>
    headers["x-shopify-topic"] === JSON.parse(body).type && headers["x-shopify-webhook-id"] === JSON.parse(body).id &&
    equal(headers["x-shopify-hmac-sha256"], hmac(key, body, "base64")),
  slack: ({ key, headers, body }) => {
    const timestamp = headers["x-slack-request-timestamp"];
    return isPresent(timestamp) &&
      equal(headers["x-slack-signature"], `v0=${hmac(key, `v0:${timestamp}:${body}`, "hex")}`);
  },
  internetivo: ({ key, headers, body }) => equal(headers["x-internetivo-signature"], hmac(key, body, "hex")),
  iverton: ({ key, headers, body }) => equal(headers["x-iverton-signature"], `sha256=${hmac(key, body, "hex")}`),
  ivy: ({ key, headers, body }) => equal(headers["x-ivy-signature"], hmac(key, body, "hex")),
  vivoldi: ({ key, headers, body }) => {
    const [, timestamp, given] = headers["x-vivoldi-signature"].match(/^t=(\d+),v1=([0-9a-f]{64}),alg=hmac-sha256$/);
    return isPresent(timestamp) && timestamp === headers["x-vivoldi-timestamp"] &&
      headers["x-vivoldi-event-id"] === JSON.parse(body).id && headers["x-vivoldi-request-id"].length === 36 &&
      headers["x-vivoldi-webhook-type"] === "GLOBAL" && headers["x-vivoldi-resource-type"] === "deal" &&
      headers["x-content-sha256"] === createHash("sha256").update(body).digest("hex") &&
      equal(given, hmac(key, `${timestamp}.${body}`, "hex"));
  },
  // Two signatures in hex: one of them suffices.
  list: ({ key, headers, body }) =>
    headers["x-signatures"].split(", ").some((given) => equal(given, hmac(key, body, "hex"))),
};

const accepts = (request) => {
  try {
    return receivers[request.service](request);
  } catch (problem) {
    console.error(`${request.service}: ${problem.message}`);
    return false;
  }
};

const requests = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(requests.map(accepts)));
