package hubtest
