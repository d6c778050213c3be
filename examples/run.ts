// Runs one command in a sandbox of its own.
import { Sandbox } from 'tsvm';

const { code, stdout } = await Sandbox.run('debian:12', ['sh', '-c', '. /etc/os-release; echo "$ID on Linux"; exit 3']);
console.log(stdout.trim(), code);
