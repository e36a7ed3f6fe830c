from densefield.networks.fc_densenet import fc_densenet56, fc_densenet67, fc_densenet103
