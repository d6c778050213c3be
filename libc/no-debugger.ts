// Imported first by each program. At SIGUSR1 Node.js opens its debugger on a TCP port, which any
// user of the host can reach, unless the program has a handler of its own.
process.on('SIGUSR1', () => {});
