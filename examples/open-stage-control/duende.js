// Keeps Open Stage Control subscribed to duende, so that its widgets follow. Start it with `--custom-module duende.js`.
// The host and port of duende, if they are others than these:
var HOST = '127.0.0.1', PORT = 7700, RENEW_MS = 20000

function subscribe() {
    // 0: back to the port that this comes from, which is Open Stage Control's own
    send(HOST, PORT, '/duende/subscribe', {type: 'i', value: 0})
}

module.exports = {
    init: function() {
        subscribe()
        setInterval(subscribe, RENEW_MS)
    },
    unload: function() {
        send(HOST, PORT, '/duende/unsubscribe', {type: 'i', value: 0})
    }
}
