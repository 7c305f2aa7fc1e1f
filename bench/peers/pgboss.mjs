// pg-boss as a sender of webhooks: `setup` makes its tables, `fill` adds a job for each row of the table job (id, payload),
// `work URL` posts every job's payload; it keeps each job's last outcome itself. The database is that of the PG* variables.
import pg from 'pg';
import { PgBoss } from 'pg-boss';
import { poster } from './post.mjs';

const { PGHOST: host, PGPORT: port, PGUSER: user, PGDATABASE: database } = process.env;
const boss = new PgBoss({ host, port: Number(port), user, database, max: 10, schedule: false, useListenNotify: true });
boss.on('error', (error) => console.error(error));
await boss.start();

if (process.argv[2] === 'setup') {
  await boss.createQueue('post', { notify: true });
  await boss.stop({ graceful: false });
} else if (process.argv[2] === 'fill') {
  const client = new pg.Client();
  await client.connect();
  const { rows } = await client.query('SELECT payload AS data FROM job');
  for (let from = 0; from < rows.length; from += 5000) await boss.insert('post', rows.slice(from, from + 5000));
  await client.end();
  await boss.stop({ graceful: false });
} else {
  const post = poster(process.argv[3]);
  const attempt = async (job) => {
    try {
      const status = await post(job.data.id, JSON.stringify(job.data));
      return { id: job.id, status: status < 300 ? 'completed' : 'failed', output: { status } };
    } catch (error) {
      return { id: job.id, status: 'failed', output: { error: String(error) } };
    }
  };
  // Batches that are fetched again while they come back full; one job's failure is its own (perJobResults).
  const options = { batchSize: 1000, burstWhenBatchFull: true, localConcurrency: 2, pollingIntervalSeconds: 0.5, perJobResults: true };
  await boss.work('post', options, (jobs) => Promise.all(jobs.map(attempt)));
  console.log('ready');
}
