"""What every face of jobd over HTTP shares: letting requests in, bounds, answers, logs that go on."""
