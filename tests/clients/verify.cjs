// Reads a JSON array of deliveries (secret, headers, body) and writes, for each, whether standardwebhooks accepts it.
const { Webhook } = require("standardwebhooks");

function accepts({ secret, headers, body }) {
  try {
    new Webhook(secret).verify(body, headers);
    return true;
  } catch (problem) {
    console.error(`${problem.name}: ${problem.message}`);
    return false;
  }
}

const deliveries = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(deliveries.map(accepts)));
