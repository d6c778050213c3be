// Writes, reads, lists and watches files of a sandbox.
import { Sandbox, SandboxError } from 'tsvm';

await using sandbox = await Sandbox.create('debian:12', { network: { mode: 'none' } });
const { files } = sandbox;

await files.write('/tmp/greeting', 'hello\n', { mode: 0o600 });
process.stdout.write((await files.read('/tmp/greeting')).toString());
for (const { name, type, size } of await files.list('/tmp')) console.log(name, type, size);

try {
  await files.read('/tmp/none');
} catch (error) {
  console.log(error instanceof SandboxError && error.code);
}

const stop = new AbortController();
const events = files.watch('/tmp', { signal: stop.signal });
let event: Awaited<ReturnType<typeof events.next>> | undefined;
events.next().then((first) => {
  event = first;
});
while (event === undefined) await files.write('/tmp/more', '1');
stop.abort();
console.log(event.value?.name, event.value?.type === 'create' || event.value?.type === 'change');
