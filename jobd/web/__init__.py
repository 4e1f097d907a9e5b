"""What every HTTP interface of jobd shares: authentication, limits, responses and followed logs."""
