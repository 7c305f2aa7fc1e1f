// graphile-worker as a sender of webhooks: `setup` makes its tables, `work URL` posts every job's payload and writes one
// outcome row per attempt. The database is that of the PG* variables.
import pg from 'pg';
import { Logger, run, runMigrations } from 'graphile-worker';
import { IN_FLIGHT, poster } from './post.mjs';

const logger = new Logger(() => (level, message) => {
  if (level === 'error') console.error(message);
});
const record = {
  name: 'record',
  text: 'INSERT INTO outcome (job_id, attempt, status_code, duration_ms) VALUES ($1, $2, $3, $4)',
};
// As its page on performance has it, but for concurrency: that many requests every contestant keeps in flight.
// Batches are as there; a connection for each job, since each writes its outcome.
const worker = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
const pgPool = new pg.Pool({ max: IN_FLIGHT + 2 });
pgPool.on('error', (error) => console.error(error));
pgPool.on('connect', (client) => client.on('error', (error) => console.error(error)));

if (process.argv[2] === 'setup') {
  await runMigrations({ pgPool, logger });
  await pgPool.query(`CREATE TABLE outcome (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job_id bigint NOT NULL,
    attempt int NOT NULL, status_code int NOT NULL, duration_ms float8 NOT NULL, recorded_at timestamptz NOT NULL DEFAULT now())`);
  await pgPool.end();
} else {
  const post = poster(process.argv[3]);
  const task = async (payload, helpers) => {
    const began = performance.now();
    const status = await post(payload.id, JSON.stringify(payload));
    const values = [helpers.job.id, helpers.job.attempts, status, performance.now() - began];
    await helpers.withPgClient((client) => client.query({ ...record, values }));
    if (status >= 300) throw new Error(`answered ${status}`);
  };
  await run({ pgPool, logger, concurrency: IN_FLIGHT, noHandleSignals: true, taskList: { post: task }, preset: { worker } });
  console.log('ready');
}
